// How Python prints values: str(), repr() and json.dumps().
#pragma once

#include <optional>
#include <string>

#include "text/jinja_value.h"

namespace arc::jinja {

std::string float_repr(double value);  // the shortest text that reads back as the same number
std::string text_repr(std::string_view text);
std::string repr(Budget& budget, const Value& value);
std::string str(Budget& budget, const Value& value);

struct JsonStyle {
  bool ascii_only = false;
  std::optional<std::string> indent;  // one level; absent: everything on one line
  std::string item_separator = ", ";
  std::string key_separator = ": ";
  bool sort_keys = false;
};

// json.dumps. Fails for values that JSON cannot hold.
std::string to_json(Budget& budget, const Value& value, const JsonStyle& style);

}  // namespace arc::jinja
