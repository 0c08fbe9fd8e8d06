// Added tokens: texts that are cut out of the input before the model sees it, special tokens among them.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/normalizer.h"
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

// A trie over the texts of tokens; a text is looked for by walking from every position whose byte starts one.
class TokenTrie {
 public:
  TokenTrie();
  // Of equal texts, the first counts.
  void add(std::string_view text, size_t token);

  struct Match {
    size_t token = 0, size = 0;
  };
  // The longest text that starts at `begin`.
  std::optional<Match> longest_at(std::string_view text, size_t begin) const;

 private:
  struct Node {
    char byte = 0;
    int32_t token = -1;
    int32_t first_child = -1, next_sibling = -1;
  };

  int32_t child(int32_t parent, char byte) const;
  int32_t add_child(int32_t parent, char byte);

  std::array<int32_t, 256> roots_;  // by first byte; -1: none
  std::vector<Node> nodes_;
};

class AddedTokens {
 public:
  AddedTokens() = default;
  AddedTokens(std::vector<AddedToken> tokens, const Normalizer& normalizer);

  // Tokens looked for in raw text. With parse_special = false, special ones are left as text.
  std::vector<Segment> split_raw(std::string_view text, bool parse_special) const;
  // Tokens looked for in normalised text.
  std::vector<Segment> split_normalized(std::string_view text, bool parse_special) const;

  const AddedToken* find(int32_t id) const;  // null: no such token
  const AddedToken* find(std::string_view content) const;
  int32_t size() const;  // largest id + 1

 private:
  void add(size_t index, const Normalizer& normalizer);
  std::vector<Segment> split(const TokenTrie& trie, std::string_view text, bool parse_special) const;

  std::vector<AddedToken> tokens_;
  std::unordered_map<int32_t, size_t> by_id_;
  std::unordered_map<std::string, size_t> by_content_;
  TokenTrie raw_, normalized_;
};

// Reads the array `added_tokens` of a tokenizer.json. A token that `vocabulary` has too gets its id from there.
std::vector<AddedToken> read_added_tokens(const FileJson& section, const Vocabulary& vocabulary);

}  // namespace arc
