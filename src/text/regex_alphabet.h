// The bytes that stand for characters in a translated regular expression.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "text/code_point_table.h"
#include "text/code_set.h"

namespace arc {

// Code points with the same symbol are in the same ones of the sets.
class RegexAlphabet {
 public:
  static constexpr size_t kMaxSymbols = 256;
  static constexpr uint8_t kNewline = '\n';  // keeps its symbol: PCRE2's ^ and $ look for it

  // The first set is {'\n'}.
  explicit RegexAlphabet(const std::vector<CodeSet>& sets);

  bool complete() const { return complete_; }  // there were enough symbols
  std::string text(size_t set) const;          // the class as PCRE2 writes it
  CodePointTable<uint8_t> symbol_of;

 private:
  std::optional<uint8_t> symbol_for(const std::vector<bool>& inside);

  std::map<std::vector<bool>, uint8_t> symbols_;  // by the sets that a code point is in
  std::vector<std::vector<uint8_t>> members_;     // by set: its symbols
  size_t next_ = 0;
  bool complete_ = false;
};

}  // namespace arc
