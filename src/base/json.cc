#include "base/json.h"

#include <cmath>
#include <string>

#include "fmt/format.h"
#include "nlohmann/json.hpp"

#include "base/error.h"

namespace arc {
namespace {

// Walks the raw text before the parser does, so that nesting cannot exhaust the stack. Strings are skipped.
bool nesting_within(std::string_view text, int max_depth) {
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
      continue;
    }
    if (c == '"') in_string = true;
    if (c == '[' || c == '{') {
      if (++depth > max_depth) return false;
    }
    if (c == ']' || c == '}') --depth;
  }
  return true;
}

}  // namespace

Json parse_json(std::string_view text, std::string_view what, const JsonLimits& limits) {
  if (text.size() > limits.max_bytes) {
    throw Error(ErrorCode::corrupt_data,
                fmt::format("{} is {} bytes long; the limit is {}", what, text.size(), limits.max_bytes));
  }
  if (!nesting_within(text, limits.max_depth)) {
    throw Error(ErrorCode::corrupt_data, fmt::format("{} nests deeper than {} levels", what, limits.max_depth));
  }
  try {
    return Json::parse(text);
  } catch (const nlohmann::json::exception& e) {  // parse errors, and numbers out of range
    throw Error(ErrorCode::corrupt_data, fmt::format("{} is not valid JSON: {}", what, e.what()));
  }
}

}  // namespace arc
