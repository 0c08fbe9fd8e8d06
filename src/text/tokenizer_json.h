// The raw contents of a tokenizer.json: a small document, and the two large sections as flat lists.
#pragma once

#include <string_view>
#include <vector>

#include "text/bpe.h"
#include "text/json_fields.h"
#include "text/unigram.h"
#include "text/vocabulary.h"

namespace arc {

struct TokenizerJson {
  FileJson document;                   // without the two sections below
  std::vector<TokenEntry> vocabulary;  // `model.vocab`, where it is an object
  std::vector<ScoredToken> scored;     // `model.vocab`, where it is a list
  std::vector<MergeEntry> merges;      // `model.merges`
  bool has_merges = false;
};

// Throws Error(corrupt_data). Depth, counts and bytes are limited, so memory stays within a few times the file's size.
TokenizerJson parse_tokenizer_json(std::string_view text);

}  // namespace arc
