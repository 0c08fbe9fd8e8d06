#include "text/jinja_unicode.h"

#include <algorithm>
#include <cstdint>
#include <span>

#include "base/utf8.h"

namespace arc::jinja {
namespace {

// Every `step`-th code point from `first` to `last`.
struct Run {
  uint32_t first = 0;
  uint32_t last = 0;
  uint32_t step = 1;
};

struct Shift {
  Run run;
  int32_t delta = 0;
};

struct Special {
  uint32_t from = 0;
  uint32_t to[3] = {};  // zeros at the end
};

#include "text/jinja_unicode_tables.inc"  // NOLINT(bugprone-suspicious-include)

bool holds(const Run& run, char32_t c) {
  return c >= run.first && c <= run.last && (c - run.first) % run.step == 0;
}

bool holds(std::span<const Run> runs, char32_t c) {
  const auto it = std::ranges::lower_bound(runs, c, {}, &Run::last);
  return it != runs.end() && holds(*it, c);
}

// Appends the mapping of `c` if the tables have one.
bool append_mapped(std::string& out, char32_t c, std::span<const Shift> shifts, std::span<const Special> specials) {
  const auto special = std::ranges::lower_bound(specials, c, {}, &Special::from);
  if (special != specials.end() && special->from == c) {
    for (const uint32_t to : special->to) {
      if (to != 0) utf8_append(out, to);
    }
    return true;
  }
  const auto shift = std::ranges::lower_bound(shifts, c, {}, [](const Shift& s) { return s.run.last; });
  if (shift == shifts.end() || !holds(shift->run, c)) return false;
  utf8_append(out, static_cast<char32_t>(static_cast<int64_t>(c) + shift->delta));
  return true;
}

}  // namespace

bool is_space(char32_t c) {
  if (c < 0x80) return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20);
  return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 ||
         c == 0x202F || c == 0x205F || c == 0x3000;
}

bool is_alpha(char32_t c) {
  return holds(kAlpha, c);
}

bool is_decimal(char32_t c) {
  return holds(kDecimal, c);
}

bool is_digit(char32_t c) {
  return holds(kDigit, c);
}

bool is_numeric(char32_t c) {
  return holds(kNumeric, c);
}

bool is_printable(char32_t c) {
  return holds(kPrintable, c);
}

bool is_lower(char32_t c) {
  return holds(kLower, c);
}

bool is_upper(char32_t c) {
  return holds(kUpper, c);
}

bool is_title(char32_t c) {
  return holds(kTitle, c);
}

bool is_case_ignorable(char32_t c) {
  return holds(kCaseIgnorable, c);
}

void append_upper(std::string& out, char32_t c) {
  if (!append_mapped(out, c, kUpperShifts, kUpperSpecials)) utf8_append(out, c);
}

void append_lower(std::string& out, char32_t c) {
  if (!append_mapped(out, c, kLowerShifts, kLowerSpecials)) utf8_append(out, c);
}

void append_title(std::string& out, char32_t c) {
  if (!append_mapped(out, c, kTitleShifts, kTitleSpecials)) append_upper(out, c);
}

}  // namespace arc::jinja
