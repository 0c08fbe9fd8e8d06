#include "serve/request_field.h"

#include <vector>

#include "fmt/format.h"
#include "nlohmann/json.hpp"

#include "serve/api_error.h"

namespace arc::serve {
namespace {

constexpr int kMaxDepth = 64;
constexpr size_t kMaxKeyComparisons = 50'000'000;  // about 0.1 s

// An object with ordered keys is a list: the parser compares a new key with all before it. Counts these comparisons
// from the colons outside of strings, before the parser meets them.
size_t key_comparisons(std::string_view text) {
  std::vector<size_t> keys{0};  // of each open container
  size_t total = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size() && keys.size() <= kMaxDepth; ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      keys.push_back(0);
    } else if ((c == '}' || c == ']') && keys.size() > 1) {
      keys.pop_back();
    } else if (c == ':') {
      total += keys.back()++;
    }
  }
  return total;
}

// What a message says of a value: itself when it is short, else its kind.
std::string describe(const Json& value) {
  switch (value.type()) {
    case Json::value_t::object:
      return "an object";
    case Json::value_t::array:
      return value.empty() ? "an empty list" : fmt::format("a list of {}", value.size());
    case Json::value_t::string:
      return value.get_ref<const std::string&>().empty() ? "an empty string" : "a string";
    default:
      return value.dump();
  }
}

}  // namespace

Json parse_body(std::string_view body) {
  if (key_comparisons(body) > kMaxKeyComparisons) {
    throw Error(ErrorCode::corrupt_data, "The request body has too many keys in one object.");
  }
  Json json = parse_json(body, "The request body", {.max_bytes = body.size(), .max_depth = kMaxDepth});
  if (!json.is_object()) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("The request body must be a JSON object, not {}.", describe(json)));
  }
  return json;
}

double Field::number(double low, double high) const {
  const double number = value_.is_number() ? value_.get<double>() : low - 1;
  if (!(number >= low && number <= high)) reject(fmt::format("a number from {} to {}", low, high));
  return number;
}

int64_t Field::integer(int64_t low, int64_t high) const {
  const bool too_large = value_.is_number_unsigned() && value_.get<uint64_t>() > uint64_t{INT64_MAX};
  const bool fits = value_.is_number_integer() && !too_large;
  if (!fits || value_.get<int64_t>() < low || value_.get<int64_t>() > high) {
    reject(fmt::format("an integer from {} to {}", low, high));
  }
  return value_.get<int64_t>();
}

bool Field::boolean() const {
  if (!value_.is_boolean()) reject("true or false");
  return value_.get<bool>();
}

const std::string& Field::string() const {
  if (!value_.is_string()) reject("a string");
  return value_.get_ref<const std::string&>();
}

const Json& Field::list(size_t max_items) const {
  if (!value_.is_array() || value_.size() > max_items) reject(fmt::format("a list of at most {} items", max_items));
  return value_;
}

const Json& Field::object() const {
  if (!value_.is_object()) reject("an object");
  return value_;
}

Field Field::operator[](size_t i) const {
  return {fmt::format("{}[{}]", name_, i), value_[i]};
}

Field Field::member(std::string_view key) const {
  const auto found = object().find(std::string(key));
  std::string name = fmt::format("{}.{}", name_, key);
  if (found == value_.end()) {
    throw RequestError(ErrorCode::invalid_argument, name, fmt::format("{} is missing.", name));
  }
  return {std::move(name), *found};
}

void Field::reject(std::string_view rule) const {
  throw RequestError(ErrorCode::invalid_argument, name_,
                     fmt::format("{} must be {}, not {}.", name_, rule, describe(value_)));
}

void Field::reject_unsupported(std::string_view message) const {
  throw RequestError(ErrorCode::unsupported, name_, std::string(message));
}

}  // namespace arc::serve
