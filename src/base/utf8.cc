#include "base/utf8.h"

namespace arc {
namespace {

constexpr char32_t kReplacement = 0xFFFD;

uint8_t byte_at(std::string_view text, size_t i) {
  return static_cast<uint8_t>(text[i]);
}

// Bytes that a sequence starting with `lead` has; 0 for a byte that starts none.
size_t length_from_lead(uint8_t lead) {
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead <= 0xDF) return 2;
  if (lead >= 0xE0 && lead <= 0xEF) return 3;
  if (lead >= 0xF0 && lead <= 0xF4) return 4;
  return 0;
}

// Whether `second` may follow `lead` (Unicode 15, table 3-7: no overlong forms, surrogates or values past U+10FFFF).
bool valid_second(uint8_t lead, uint8_t second) {
  switch (lead) {
    case 0xE0:
      return second >= 0xA0 && second <= 0xBF;
    case 0xED:
      return second >= 0x80 && second <= 0x9F;
    case 0xF0:
      return second >= 0x90 && second <= 0xBF;
    case 0xF4:
      return second >= 0x80 && second <= 0x8F;
    default:
      return second >= 0x80 && second <= 0xBF;
  }
}

// How many leading bytes of `text` are the start of a valid sequence of `length` bytes.
size_t matching_bytes(std::string_view text, size_t length) {
  size_t n = 1;
  while (n < length && n < text.size()) {
    const uint8_t b = byte_at(text, n);
    if (n == 1 ? !valid_second(byte_at(text, 0), b) : (b & 0xC0) != 0x80) break;
    ++n;
  }
  return n;
}

}  // namespace

size_t utf8_sequence_length(std::string_view text) {
  if (text.empty()) return 0;
  const size_t length = length_from_lead(byte_at(text, 0));
  return length != 0 && matching_bytes(text, length) == length ? length : 0;
}

bool is_valid_utf8(std::string_view text) {
  while (!text.empty()) {
    const size_t n = utf8_sequence_length(text);
    if (n == 0) return false;
    text.remove_prefix(n);
  }
  return true;
}

char32_t utf8_decode(std::string_view text, size_t& offset) {
  const std::string_view rest = text.substr(offset);
  const size_t n = utf8_sequence_length(rest);
  if (n == 0) {
    ++offset;
    return kReplacement;
  }
  offset += n;
  if (n == 1) return byte_at(rest, 0);
  char32_t value = byte_at(rest, 0) & (0x7Fu >> n);
  for (size_t i = 1; i < n; ++i) value = (value << 6) | (byte_at(rest, i) & 0x3Fu);
  return value;
}

void utf8_append(std::string& out, char32_t c) {
  const auto put = [&out](char32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (c < 0x80) return put(c);
  if (c < 0x800) {
    put(0xC0 | (c >> 6));
  } else if (c < 0x10000) {
    put(0xE0 | (c >> 12));
    put(0x80 | ((c >> 6) & 0x3F));
  } else {
    put(0xF0 | (c >> 18));
    put(0x80 | ((c >> 12) & 0x3F));
    put(0x80 | ((c >> 6) & 0x3F));
  }
  put(0x80 | (c & 0x3F));
}

size_t utf8_complete_prefix(std::string_view text) {
  const size_t first = text.size() < 3 ? 0 : text.size() - 3;
  for (size_t i = text.size(); i > first; --i) {
    const size_t length = length_from_lead(byte_at(text, i - 1));
    if (length == 0) continue;
    const std::string_view tail = text.substr(i - 1);
    const bool open = tail.size() < length && matching_bytes(tail, length) == tail.size();
    return open ? i - 1 : text.size();
  }
  return text.size();
}

std::string utf8_replace_invalid(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) utf8_append(out, utf8_decode(text, i));
  return out;
}

}  // namespace arc
