// Byte-level BPE given as byte strings with ranks: the files of the `tiktoken` library (Llama 3, Qwen 1, Kimi, GLM 4).
// Two neighbours merge when they join to a token, the one of lowest rank first; a piece that is a token stays whole.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "text/tokenizer_parts.h"

namespace arc {

// A tiktoken file: per line a token in base64, a space, and its rank, which is its id. How its models cut text, and
// their special tokens where `added` is empty, go by `family`: the file's stem ("qwen"; "tokenizer" is Llama 3's) or
// the `tokenizer_class` of tokenizer_config.json. Throws Error(corrupt_data) that names the line, and
// Error(unsupported) for an unknown family.
TokenizerParts read_tiktoken(std::string_view file, std::string_view family, std::vector<AddedToken> added);

// The tokenizer of a list of byte strings: the id is the rank plus `first_id`. All single bytes must be there.
// `pattern` (Rust's dialect) cuts text into pieces, `added` tokens are cut out before. Throws Error(corrupt_data).
TokenizerParts tokenizer_of_ranks(const std::vector<TokenEntry>& tokens, int32_t first_id, std::string_view pattern,
                                  std::vector<AddedToken> added);

}  // namespace arc
