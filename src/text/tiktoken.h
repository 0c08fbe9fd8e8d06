// Byte-level BPE given as byte strings with ranks: the files of the `tiktoken` library (GPT, Llama 3, Qwen 1, GLM 4,
// Kimi). Two neighbours merge when they join to a token, the one of lowest rank first; a piece that is a token stays
// whole.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer_parts.h"

namespace arc {

// Names of the patterns that tiktoken_pattern knows.
std::string tiktoken_pattern_names();

// How a family of models cuts text into pieces: `family` is the name of an encoding ("cl100k_base"), the stem of a file
// ("qwen"), or a `tokenizer_class` of tokenizer_config.json. Throws Error(unsupported) for an unknown one.
std::string_view tiktoken_pattern(std::string_view family);

// The tokenizer of a list of byte strings: the id is the rank plus `first_id`. All single bytes must be there. `added`
// tokens are cut out first. Throws Error(corrupt_data).
TokenizerParts tokenizer_of_ranks(const std::vector<TokenEntry>& tokens, int32_t first_id, std::string_view pattern,
                                  std::vector<AddedToken> added);

// A tiktoken file: per line a token in base64, a space, and its rank. Throws Error(corrupt_data) that names the line.
std::vector<TokenEntry> parse_tiktoken(std::string_view file);

// Appends the bytes that `text` spells in base64, padded. False, with `out` unchanged, when it is none.
bool base64_decode(std::string_view text, std::string& out);

// `added_tokens_decoder` of a tokenizer_config.json: {"128000": {"content": ..., "special": true, ...}, ...}. Nothing
// when it is absent. Throws Error(corrupt_data).
std::vector<AddedToken> read_added_tokens_decoder(const FileJson& config);

}  // namespace arc
