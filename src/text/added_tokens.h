// Added tokens: texts that are cut out of the input before the model sees it, special tokens among them.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/byte_range.h"
#include "text/normalizer.h"
#include "text/trie.h"
#include "text/vocabulary.h"

namespace arc {

struct AddedToken {
  int32_t id = 0;
  std::string content;
  bool single_word = false;  // not when a word character touches it
  bool lstrip = false;       // takes the white space before it along
  bool rstrip = false;       // and after it
  bool normalized = false;   // is looked for in normalised text, in its own normal form
  bool special = false;      // left out by decoding that skips special tokens
};

// A part of a text: an added token, or what lies between two.
struct Segment {
  size_t begin = 0, end = 0;
  std::optional<int32_t> token;
};

class AddedTokens {
 public:
  AddedTokens() = default;
  AddedTokens(std::vector<AddedToken> tokens, const Normalizer& normalizer);

  // Tokens looked for in raw text. Special ones that touch a range of `plain` are left as text.
  std::vector<Segment> split_raw(std::string_view text, std::span<const ByteRange> plain) const;
  // Tokens looked for in normalised text.
  std::vector<Segment> split_normalized(std::string_view text, std::span<const ByteRange> plain) const;

  const AddedToken* find(int32_t id) const;  // null: no such token
  const AddedToken* find(std::string_view content) const;
  int32_t size() const;  // largest id + 1

 private:
  std::vector<Segment> split(const Trie& trie, std::string_view text, std::span<const ByteRange> plain) const;

  std::vector<AddedToken> tokens_;
  std::unordered_map<int32_t, size_t> by_id_;
  std::unordered_map<std::string, size_t> by_content_;
  Trie raw_, normalized_;  // to places in tokens_
};

// Reads the array `added_tokens` of a tokenizer.json. A token that `vocabulary` has too gets its id from there.
std::vector<AddedToken> read_added_tokens(const FileJson& section, const Vocabulary& vocabulary);

// Reads `added_tokens_decoder` of a tokenizer_config.json: {"128000": {"content": ..., "special": true, ...}, ...}.
// They are looked for in raw text. Nothing when it is absent.
std::vector<AddedToken> read_added_tokens_decoder(const FileJson& config);

}  // namespace arc
