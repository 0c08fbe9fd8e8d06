#include "text/base64.h"

#include <array>
#include <cstdint>

namespace arc {
namespace {

constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

// -1: no digit.
std::array<int8_t, 256> base64_digits() {
  std::array<int8_t, 256> table{};
  table.fill(-1);
  int8_t digit = 0;
  for (const char c : kDigits) {
    table[static_cast<uint8_t>(c)] = digit++;
  }
  return table;
}

}  // namespace

std::string base64_encode(std::string_view bytes) {
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const auto at = [&](size_t j) { return j < bytes.size() ? uint32_t{static_cast<uint8_t>(bytes[j])} : 0u; };
    const uint32_t bits = at(i) << 16 | at(i + 1) << 8 | at(i + 2);
    for (int shift = 18; shift >= 0; shift -= 6) text += kDigits[bits >> shift & 63];
  }
  for (size_t n = bytes.size(); n % 3 != 0; ++n) text[text.size() - 1 - (n - bytes.size())] = '=';
  return text;
}

std::optional<std::string> base64_decode(std::string_view text) {
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

}  // namespace arc
