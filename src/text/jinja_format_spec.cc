#include "text/jinja_format_spec.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "text/jinja_print.h"
#include "text/jinja_text.h"

namespace arc::jinja {
namespace {

constexpr int64_t kMaxWidth = 1 << 20;
constexpr int64_t kMaxPrecision = 400;

bool is_align(char c) {
  return c == '<' || c == '>' || c == '^' || c == '=';
}

int64_t take_number(std::string_view& text, int64_t limit) {
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || number > limit) fail("a width or precision of a format is too large");
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return number;
}

bool starts_with_digit(std::string_view text) {
  return !text.empty() && text[0] >= '0' && text[0] <= '9';
}

std::string pad(std::string_view sign, std::string_view body, const FormatSpec& spec, char default_align) {
  const auto length = static_cast<int64_t>(count_code_points(sign) + count_code_points(body));
  const int64_t missing = std::max<int64_t>(spec.width - length, 0);
  const auto fill = [&](int64_t n) {
    std::string out;
    for (int64_t i = 0; i < n; ++i) out += spec.fill;
    return out;
  };
  switch (spec.align ? spec.align : default_align) {
    case '<':
      return fmt::format("{}{}{}", sign, body, fill(missing));
    case '^':
      return fmt::format("{}{}{}{}", fill(missing / 2), sign, body, fill(missing - missing / 2));
    case '=':
      return fmt::format("{}{}{}", sign, fill(missing), body);
    default:
      return fmt::format("{}{}{}", fill(missing), sign, body);
  }
}

// Separators every three digits of the integer part.
std::string group_digits(std::string body, char separator) {
  if (separator == 0) return body;
  size_t end = std::min(body.find_first_not_of("0123456789"), body.size());
  while (end > 3) {
    end -= 3;
    body.insert(end, 1, separator);
  }
  return body;
}

std::string_view sign_of(bool negative, const FormatSpec& spec) {
  if (negative) return "-";
  return spec.sign == '+' ? "+" : spec.sign == ' ' ? " " : "";
}

std::string number_text(std::string_view sign, const std::string& body, const FormatSpec& spec) {
  if (spec.grouping && spec.fill == "0") fail("grouped digits with leading zeros are not supported");
  return pad(sign, group_digits(body, spec.grouping), spec, '>');
}

// Without a type: repr's digits, or `precision` of them with a digit after the point.
std::string general_digits(double value, const FormatSpec& spec) {
  if (spec.precision < 0) return float_repr(value);
  const int digits = std::max(static_cast<int>(spec.precision), 1);
  const std::string scientific = fmt::format("{:.{}e}", value, digits - 1);
  const size_t e = scientific.find('e');
  int exponent = 0;
  const char* first = scientific.data() + e + 1 + (scientific[e + 1] == '+');
  std::from_chars(first, scientific.data() + scientific.size(), exponent);
  if (exponent < digits - 1) {
    const std::string text = fmt::format("{:.{}g}", value, digits);
    return text.find_first_of(".e") == std::string::npos ? text + ".0" : text;
  }
  std::string mantissa = scientific.substr(0, e);
  if (mantissa.find('.') != std::string::npos) mantissa.erase(mantissa.find_last_not_of("0.") + 1);
  return mantissa + scientific.substr(e);
}

std::string float_digits(double value, const FormatSpec& spec) {
  const int precision = static_cast<int>(spec.precision < 0 ? 6 : spec.precision);
  switch (spec.type) {
    case 0:
      return general_digits(value, spec);
    case 'f':
    case 'F':
      return spec.alternate ? fmt::format("{:#.{}f}", value, precision) : fmt::format("{:.{}f}", value, precision);
    case 'e':
    case 'E':
      return spec.alternate ? fmt::format("{:#.{}e}", value, precision) : fmt::format("{:.{}e}", value, precision);
    case 'g':
    case 'G':
      return spec.alternate ? fmt::format("{:#.{}g}", value, std::max(precision, 1))
                            : fmt::format("{:.{}g}", value, std::max(precision, 1));
    case '%':
      return fmt::format("{:.{}f}%", value * 100, precision);
    default:
      fail("Unknown format code '{}' for object of type 'float'", spec.type);
  }
}

}  // namespace

FormatSpec parse_format_spec(std::string_view text) {
  FormatSpec spec;
  const size_t first = text.empty() ? 0 : next_code_point(text, 0);
  if (first < text.size() && is_align(text[first])) {
    spec.fill = text.substr(0, first);
    spec.align = text[first];
    text.remove_prefix(first + 1);
  } else if (!text.empty() && is_align(text[0])) {
    spec.align = text[0];
    text.remove_prefix(1);
  }
  const auto take = [&text](std::string_view chars) {
    if (text.empty() || chars.find(text[0]) == std::string_view::npos) return '\0';
    const char c = text[0];
    text.remove_prefix(1);
    return c;
  };
  if (const char sign = take("+- ")) spec.sign = sign;
  spec.alternate = take("#") != 0;
  if (take("0")) {
    if (spec.align == 0) spec.fill = "0";
    if (spec.align == 0) spec.align = '=';
  }
  if (starts_with_digit(text)) spec.width = take_number(text, kMaxWidth);
  spec.grouping = take(",_");
  if (take(".")) {
    if (!starts_with_digit(text)) fail("Format specifier missing precision");
    spec.precision = take_number(text, kMaxPrecision);
  }
  spec.type = take("bcdeEfFgGnosxX%");
  if (!text.empty()) fail("Invalid format specifier");
  return spec;
}

std::string format_text(std::string_view text, const FormatSpec& spec) {
  if (spec.type != 0 && spec.type != 's') fail("Unknown format code '{}' for object of type 'str'", spec.type);
  if (spec.align == '=' && spec.fill != "0") fail("'=' alignment not allowed in string format specifier");
  if (spec.precision >= 0) text = text.substr(0, byte_of(text, static_cast<size_t>(spec.precision)));
  FormatSpec aligned = spec;
  if (aligned.align == '=') aligned.align = '<';
  return pad("", text, aligned, '<');
}

std::string format_integer(int64_t value, const FormatSpec& spec) {
  const uint64_t size = value < 0 ? -static_cast<uint64_t>(value) : static_cast<uint64_t>(value);
  std::string sign(sign_of(value < 0, spec));
  switch (spec.type) {
    case 0:
    case 'd':
    case 'n':
      return number_text(sign, fmt::format("{}", size), spec);
    case 'x':
      return number_text(sign + (spec.alternate ? "0x" : ""), fmt::format("{:x}", size), spec);
    case 'X':
      return number_text(sign + (spec.alternate ? "0X" : ""), fmt::format("{:X}", size), spec);
    case 'o':
      return number_text(sign + (spec.alternate ? "0o" : ""), fmt::format("{:o}", size), spec);
    case 'b':
      return number_text(sign + (spec.alternate ? "0b" : ""), fmt::format("{:b}", size), spec);
    case 'e':
    case 'E':
    case 'f':
    case 'F':
    case 'g':
    case 'G':
    case '%':
      return format_float(static_cast<double>(value), spec);
    default:
      fail("Unknown format code '{}' for object of type 'int'", spec.type);
  }
}

std::string format_float(double value, const FormatSpec& spec) {
  const bool negative = std::signbit(value) && !std::isnan(value);
  std::string body = std::isnan(value) ? "nan" : std::isinf(value) ? "inf" : float_digits(std::fabs(value), spec);
  if (spec.type == '%' && !std::isfinite(value)) body += '%';
  if (spec.type == 'E' || spec.type == 'F' || spec.type == 'G') {
    for (char& c : body) c = static_cast<char>(c >= 'a' && c <= 'z' ? c - 32 : c);
  }
  return number_text(sign_of(negative, spec), body, spec);
}

}  // namespace arc::jinja
