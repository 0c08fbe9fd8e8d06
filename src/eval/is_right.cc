// Whether an answer is right: the same rule as is_right of training/heldout.py.
#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "nlohmann/json.hpp"

#include "arc/error.h"
#include "arc/eval.h"
#include "base/json.h"
#include "base/utf8.h"

namespace arc {
namespace {

constexpr std::string_view kOpen = "<tool_call>", kClose = "</tool_call>";

// Python's str.isspace.
bool is_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

std::string_view stripped(std::string_view text) {
  size_t first = text.size(), last = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t begin = at;
    if (is_space(utf8_decode(text, at))) continue;
    first = std::min(first, begin);
    last = at;
  }
  return first < last ? text.substr(first, last - first) : std::string_view();
}

std::optional<Json> parsed(std::string_view text) {
  try {
    return parse_json(text, "answer");
  } catch (const Error&) {
    return std::nullopt;
  }
}

// Python's ==: 1 is 1.0, members have no order. True is 1 there too.
bool same_value(const Json& a, const Json& b) {
  const auto number = [](const Json& v) { return v.is_boolean() ? Json(v.get<bool>() ? 1 : 0) : v; };
  if (a.is_object() && b.is_object()) {
    if (a.size() != b.size()) return false;
    for (const auto& [key, value] : a.items()) {
      const auto found = b.find(key);
      if (found == b.end() || !same_value(value, *found)) return false;
    }
    return true;
  }
  if (a.is_array() && b.is_array()) {
    if (a.size() != b.size()) return false;
    for (size_t i = 0; i < a.size(); ++i) {
      if (!same_value(a[i], b[i])) return false;
    }
    return true;
  }
  return number(a) == number(b);
}

struct Calls {
  Json list = Json::array();  // [name, arguments] each
  std::string rest;           // the text around them
  bool valid = true;
};
Calls calls_in(std::string_view text) {
  Calls calls;
  while (true) {
    const size_t open = text.find(kOpen);
    const size_t close = open == text.npos ? open : text.find(kClose, open + kOpen.size());
    if (close == text.npos) break;
    std::string_view body = text.substr(open + kOpen.size(), close - open - kOpen.size());
    if (body.starts_with('\n')) body.remove_prefix(1);
    if (body.ends_with('\n')) body.remove_suffix(1);
    calls.rest += text.substr(0, open);
    text.remove_prefix(close + kClose.size());
    const std::optional<Json> call = parsed(body);
    const bool whole = call && call->is_object() && call->contains("name") && call->contains("arguments");
    calls.valid = calls.valid && whole;
    if (whole) calls.list.push_back({call->at("name"), call->at("arguments")});
  }
  calls.rest += text;
  return calls;
}

bool same_calls(const std::string& answer, const std::string& expected) {
  const Calls given = calls_in(answer), wanted = calls_in(expected);
  if (given.valid != wanted.valid || !stripped(given.rest).empty()) return false;
  return !given.valid || same_value(given.list, wanted.list);
}

}  // namespace

bool is_right(const EvalTask& task, const std::string& answer) {
  switch (task.check) {
    case EvalTask::Check::exact:
      return stripped(answer) == task.expected;
    case EvalTask::Check::contains:
      return std::ranges::all_of(task.must, [&](const std::string& part) { return answer.find(part) != answer.npos; });
    case EvalTask::Check::json: {
      const std::optional<Json> given = parsed(answer), wanted = parsed(task.expected);
      return given && wanted && same_value(*given, *wanted);
    }
    case EvalTask::Check::call:
      break;
  }
  return same_calls(answer, task.expected);
}

}  // namespace arc
