// What a normalizer, pre-tokenizer or decoder looks for: a literal, a regular expression, or characters of a class.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "text/json_fields.h"
#include "text/regex.h"

namespace arc {

using CharTest = bool (*)(char32_t);
using Pattern = std::variant<std::string, Regex, CharTest>;  // a literal is never empty

// All matches, left to right, not overlapping. A CharTest matches single characters.
std::vector<Span> find_matches(const Pattern& pattern, std::string_view text);

// Calls fail_growth() when the replacements alone are longer than `max_bytes`.
std::string replace_matches(const Pattern& pattern, std::string_view text, std::string_view replacement,
                            size_t max_bytes = SIZE_MAX);

// Error(resource): a tokenizer file makes a text grow beyond all measure.
[[noreturn]] void fail_growth();

// Reads {"String": "..."} or {"Regex": "..."} from the field `pattern`.
Pattern read_pattern(const JsonFields& fields);

// Reads a field that holds one character.
std::string read_character(const JsonFields& fields, const char* key);

}  // namespace arc
