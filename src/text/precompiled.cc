#include "text/precompiled.h"

#include <array>
#include <cstdint>
#include <optional>

#include "base/utf8.h"
#include "text/pattern.h"
#include "text/unicode.h"

namespace arc {
namespace {

constexpr size_t kMaxClusterBytes = 5;

// -1: no digit.
std::array<int8_t, 256> base64_digits() {
  std::array<int8_t, 256> table{};
  table.fill(-1);
  int8_t digit = 0;
  for (const char c : std::string_view("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")) {
    table[static_cast<uint8_t>(c)] = digit++;
  }
  return table;
}

std::optional<std::string> decode_base64(std::string_view text) {
  static const auto digits = base64_digits();
  std::string bytes;
  uint32_t bits = 0;
  int n_bits = 0;
  if (text.size() % 4 != 0) return std::nullopt;
  for (int i = 0; i < 2 && text.ends_with('='); ++i) text.remove_suffix(1);
  for (const char c : text) {
    const int8_t digit = digits[static_cast<uint8_t>(c)];
    if (digit < 0) return std::nullopt;
    bits = bits << 6 | static_cast<uint32_t>(digit);
    n_bits += 6;
    if (n_bits < 8) continue;
    n_bits -= 8;
    bytes += static_cast<char>(bits >> n_bits & 0xFF);
  }
  return bytes;
}

}  // namespace

std::string Precompiled::apply(std::string_view text, size_t max_bytes) const {
  const auto find = [&](std::string_view part) { return rules.shortest(part.substr(0, part.find('\0'))); };
  std::string out;
  out.reserve(text.size());
  for (size_t begin = 0; begin < text.size();) {
    if (out.size() > max_bytes) fail_growth();
    const size_t end = grapheme_end(text, begin);
    const bool is_short = end - begin <= kMaxClusterBytes;
    if (const auto whole = is_short ? find(text.substr(begin, end - begin)) : std::nullopt) {
      out += whole->replacement;
      begin = end;
      continue;
    }
    while (begin < end) {
      const size_t character = begin;
      utf8_decode(text, begin);
      const std::string_view one = text.substr(character, begin - character);
      const auto rule = find(one);
      out += rule ? rule->replacement : one;
    }
  }
  return out;
}

Precompiled read_precompiled(const JsonFields& fields) {
  const auto bytes = decode_base64(fields.text_or("precompiled_charsmap", ""));
  if (!bytes) fields.fail("Precompiled: `precompiled_charsmap` is not base64");
  return {CharsMap(*bytes)};
}

}  // namespace arc
