// UTF-8: validation and code point iteration. Invalid bytes never crash and never merge with their neighbours.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace arc {

// Length in bytes (1 to 4) of the valid UTF-8 sequence at the start of `text`, or 0 when none starts there (overlong
// forms, surrogates and values past U+10FFFF are invalid).
size_t utf8_sequence_length(std::string_view text);

bool is_valid_utf8(std::string_view text);

// Decodes the code point at `text[offset]` and moves `offset` past it. An invalid byte gives U+FFFD and moves by one.
char32_t utf8_decode(std::string_view text, size_t& offset);

void utf8_append(std::string& out, char32_t code_point);

// The longest prefix that does not end inside a sequence which more bytes could still complete.
size_t utf8_complete_prefix(std::string_view text);

// A copy in which every invalid byte is replaced by U+FFFD.
std::string utf8_replace_invalid(std::string_view text);

}  // namespace arc
