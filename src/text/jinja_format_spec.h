// Python's format specification: [[fill]align][sign][#][0][width][,][.precision][type].
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "text/jinja_value.h"

namespace arc::jinja {

struct FormatSpec {
  std::string fill = " ";
  char align = 0;  // '<', '>', '^', '=', 0 for the type's own
  char sign = '-';
  char grouping = 0;  // ',' or '_'
  bool alternate = false;
  int64_t width = 0;
  int64_t precision = -1;
  char type = 0;
};

FormatSpec parse_format_spec(std::string_view text);

std::string format_text(std::string_view text, const FormatSpec& spec);
std::string format_integer(int64_t value, const FormatSpec& spec);
std::string format_float(double value, const FormatSpec& spec);

}  // namespace arc::jinja
