// SentencePiece's precompiled normalization rules: texts and what they become, as a double-array trie over bytes and a
// block of NUL-terminated results. Kept as the file has it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace arc {

class CharsMap {
 public:
  CharsMap() = default;  // has no rule
  // Throws Error(corrupt_data): sizes that do not fit, results that are not UTF-8 or not terminated.
  explicit CharsMap(std::string_view blob);

  struct Match {
    size_t size = 0;  // of what is replaced
    std::string_view replacement;
  };
  // The rule with the longest text that `text` starts with.
  std::optional<Match> longest(std::string_view text) const { return find(text, false); }
  std::optional<Match> shortest(std::string_view text) const { return find(text, true); }
  bool empty() const { return units_.empty(); }

 private:
  std::optional<Match> find(std::string_view text, bool shortest) const;

  std::vector<uint32_t> units_;
  std::string results_;
};

}  // namespace arc
