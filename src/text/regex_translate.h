// From a tokenizer's regular expression to one over an alphabet of at most 256 symbols: characters that no part of the
// pattern tells apart share a symbol. What belongs to a class is settled here, by our tables; PCRE2 sees plain bytes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "text/code_point_table.h"

namespace arc {

enum class RegexDialect {
  oniguruma,  // tokenizer.json, as the `tokenizers` library reads it
  rust,       // tiktoken and tekken: ^ and $ match at the ends only, {n,m}+ is possessive
};

struct TranslatedRegex {
  std::string pattern;  // over symbols, for PCRE2 without UTF
  CodePointTable<uint8_t> symbol_of;
};

// Throws Error(unsupported or corrupt_data) that quotes the pattern.
TranslatedRegex translate_regex(std::string_view pattern, RegexDialect dialect);

}  // namespace arc
