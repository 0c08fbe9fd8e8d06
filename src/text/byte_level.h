// The byte-level alphabet of GPT-2: every byte is one printable character, so that a vocabulary of strings can hold any
// bytes. Printable Latin-1 stands for itself; the other 68 bytes, in order, are U+0100 to U+0143.
#pragma once

#include <string>
#include <string_view>

namespace arc {

void byte_level_encode(std::string_view bytes, std::string& out);

// Appends the bytes that `token` spells. Returns false, with `out` unchanged, when a character is not of the alphabet.
bool byte_level_decode(std::string_view token, std::string& out);

}  // namespace arc
