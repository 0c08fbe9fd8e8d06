#include "base/json.h"

#include <algorithm>
#include <string>

#include "fmt/format.h"
#include "nlohmann/json.hpp"

#include "base/error.h"

namespace arc {
namespace {

// What could hurt the parser, counted on the raw text before it runs. Strings are skipped.
struct Shape {
  int depth = 0;       // deepest nesting
  size_t members = 0;  // of all objects together
};

Shape shape_of(std::string_view text) {
  Shape shape;
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
    if (c == ':') ++shape.members;
    if (c == '[' || c == '{') shape.depth = std::max(shape.depth, ++depth);
    if (c == ']' || c == '}') --depth;
  }
  return shape;
}

}  // namespace

Json parse_json(std::string_view text, std::string_view what, const JsonLimits& limits) {
  if (text.size() > limits.max_bytes) {
    throw Error(ErrorCode::corrupt_data,
                fmt::format("{} is {} bytes long; the limit is {}", what, text.size(), limits.max_bytes));
  }
  const Shape shape = shape_of(text);
  if (shape.depth > limits.max_depth) {
    throw Error(ErrorCode::corrupt_data, fmt::format("{} nests deeper than {} levels", what, limits.max_depth));
  }
  if (shape.members > limits.max_members) {
    throw Error(ErrorCode::corrupt_data, fmt::format("{} has more than {} object members", what, limits.max_members));
  }
  // The parser takes a NUL for the end of the text.
  if (text.find('\0') != std::string_view::npos) {
    throw Error(ErrorCode::corrupt_data, fmt::format("{} is not valid JSON: it holds a NUL byte", what));
  }
  try {
    return Json::parse(text);
  } catch (const nlohmann::json::exception& e) {  // parse errors, and numbers out of range
    throw Error(ErrorCode::corrupt_data, fmt::format("{} is not valid JSON: {}", what, e.what()));
  }
}

}  // namespace arc
