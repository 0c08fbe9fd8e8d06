// The strings of a vocabulary and their ids, both ways.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "text/trie.h"

namespace arc {

// Ids are below this in every file that Arc reads, so that a lying id cannot size a table.
constexpr int64_t kMaxTokens = int64_t{1} << 22;

using TokenEntry = std::pair<std::string, int64_t>;  // text, id

class Vocabulary {
 public:
  Vocabulary() = default;
  // Throws Error(corrupt_data) on an id that is negative, too large, or given to two texts.
  explicit Vocabulary(const std::vector<TokenEntry>& tokens);
  // The place in the list is the id. Of equal texts the last is found. Throws Error(corrupt_data) on too many.
  static Vocabulary in_order(std::vector<std::string> texts);
  Vocabulary(Vocabulary&&) noexcept = default;  // not copyable: ids_ points into texts_
  Vocabulary& operator=(Vocabulary&&) noexcept = default;

  std::optional<int32_t> find(std::string_view text) const;
  // Null for an id without a token; vocabularies have holes, and models emit ids past their end.
  const std::string* text(int32_t id) const;
  int32_t size() const { return static_cast<int32_t>(texts_.size()); }  // largest id + 1

  // All texts, with their ids as `find` gives them. Throws Error(corrupt_data) on a text of over 1 KiB, which bounds
  // the walk from every position of a text.
  Trie trie() const;
  // Ids of <0x00> to <0xFF>; -1 for a missing one.
  std::vector<int32_t> byte_tokens() const;

 private:
  std::vector<std::optional<std::string>> texts_;
  std::unordered_map<std::string_view, int32_t> ids_;
};

}  // namespace arc
