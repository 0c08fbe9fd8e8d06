// Unicode properties and normal forms for tokenizers. The only file that knows where the tables come from.
#pragma once

#include <string>
#include <string_view>

namespace arc {

enum class UnicodeForm { nfc, nfd, nfkc, nfkd };

// `text` must be valid UTF-8.
std::string unicode_normalize(std::string_view text, UnicodeForm form);
std::string unicode_lowercase(std::string_view text);

bool is_unicode_space(char32_t c);        // property White_Space
bool is_unicode_numeric(char32_t c);      // categories Nd, Nl, No
bool is_unicode_mark(char32_t c);         // categories Mn, Mc, Me
bool is_unicode_punctuation(char32_t c);  // categories P*, and ASCII symbols
bool is_unicode_word(char32_t c);         // what \w matches: alphabetic, marks, decimal digits, connectors, joiners

}  // namespace arc
