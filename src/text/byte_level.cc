#include "text/byte_level.h"

#include <array>
#include <cstdint>

#include "base/utf8.h"

namespace arc {
namespace {

constexpr char32_t kFirstStandIn = 0x100;
constexpr size_t kAlphabetEnd = 0x144;

constexpr bool stands_for_itself(unsigned byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
}

struct Alphabet {
  std::array<char32_t, 256> character{};
  std::array<int16_t, kAlphabetEnd> byte{};  // -1: no character of the alphabet
};

constexpr Alphabet make_alphabet() {
  Alphabet alphabet;
  alphabet.byte.fill(-1);
  char32_t stand_in = kFirstStandIn;
  for (unsigned b = 0; b < 256; ++b) {
    alphabet.character[b] = stands_for_itself(b) ? b : stand_in++;
    alphabet.byte[alphabet.character[b]] = static_cast<int16_t>(b);
  }
  return alphabet;
}

constexpr Alphabet kAlphabet = make_alphabet();

}  // namespace

void byte_level_encode(std::string_view bytes, std::string& out) {
  for (const char byte : bytes) utf8_append(out, kAlphabet.character[static_cast<uint8_t>(byte)]);
}

bool byte_level_decode(std::string_view token, std::string& out) {
  const size_t size_before = out.size();
  for (size_t i = 0; i < token.size();) {
    const char32_t c = utf8_decode(token, i);
    if (c >= kAlphabetEnd || kAlphabet.byte[c] < 0) {
      out.resize(size_before);
      return false;
    }
    out.push_back(static_cast<char>(kAlphabet.byte[c]));
  }
  return true;
}

}  // namespace arc
