// Tokenizers as GGUF files describe them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "text/tokenizer_parts.h"

namespace arc {

// The keys under `tokenizer.ggml.`, by their own names. Absent ones have the format's defaults.
struct GgufVocabulary {
  enum class Type { normal = 1, unknown = 2, control = 3, user_defined = 4, unused = 5, byte = 6 };

  std::string model;  // "llama", "gpt2", "bert", "t5"
  std::string pre = "default";
  std::vector<std::string> tokens;  // by id
  std::vector<double> scores;       // as many, or none
  std::vector<int64_t> token_type;  // as many, or none: all normal
  std::vector<std::string> merges;  // "left right"
  std::string precompiled_charsmap;
  std::optional<int64_t> bos_token_id, eos_token_id, eot_token_id, eom_token_id, unknown_token_id, seperator_token_id,
      padding_token_id;
  std::optional<bool> add_bos_token, add_eos_token, add_sep_token, add_space_prefix, remove_extra_whitespaces;
  bool lowercase = true;              // normalizer.lowercase
  std::optional<bool> strip_accents;  // normalizer.strip_accents; as lowercase
  // Added tokens take the white space behind them along: Phi-3's do, which no key says.
  bool strips_after_added = false;
};

// Throws Error(unsupported, corrupt_data) that names the key.
TokenizerParts tokenizer_of_gguf(const GgufVocabulary& vocabulary);

}  // namespace arc
