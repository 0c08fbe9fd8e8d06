// Unicode as the `tokenizers` library has it: each of its parts follows a version of its own, so there is a function
// for each part, and no system library is asked. unicode_tables.inc is read off the library by
// tools/make_unicode_tables.py.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "text/code_set.h"

namespace arc {

enum class UnicodeForm { nfc, nfd, nfkc, nfkd };

// `text` must be valid UTF-8.
std::string unicode_normalize(std::string_view text, UnicodeForm form);
std::string unicode_lowercase(std::string_view text);

bool is_unicode_space(char32_t c);        // WhitespaceSplit, Strip, BertNormalizer
bool is_unicode_numeric(char32_t c);      // Digits
bool is_unicode_mark(char32_t c);         // StripAccents
bool is_unicode_punctuation(char32_t c);  // Punctuation, BertPreTokenizer
bool is_unicode_word(char32_t c);         // \w of Whitespace, and of added tokens with single_word
bool is_bert_dropped(char32_t c);         // BertNormalizer: clean_text
bool is_bert_chinese(char32_t c);         // handle_chinese_chars
bool is_bert_accent(char32_t c);          // strip_accents, after NFD

// UnicodeScripts: characters with different numbers are cut apart; 0 goes with every number.
uint8_t unicode_script(char32_t c);

// Where the grapheme cluster that begins at `begin` ends (UAX 29, extended). Regional indicators are not paired: they
// make no difference to Precompiled, which looks up clusters of under six bytes only.
size_t grapheme_end(std::string_view text, size_t begin);

// Regular expressions. Rust's \w is what is_unicode_word tests.
CodeSet unicode_words();
// \p{...}: a general category, a script or a property, in any case, with or without _ - and space.
std::optional<CodeSet> unicode_property(std::string_view name);
// All that (?i) takes for the same as members of the set.
CodeSet unicode_fold(const CodeSet& set);
// Whether (?i) takes `text` for one other character, as it takes "ss" for one; and all those others.
bool unicode_folds_to_one(std::u32string_view text);
const CodeSet& unicode_folds_to_many();

}  // namespace arc
