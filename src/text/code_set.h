// Sets of code points, as ranges.
#pragma once

#include <cstdint>
#include <vector>

namespace arc {

struct CodeRange {
  char32_t first = 0, last = 0;
  bool operator==(const CodeRange&) const = default;
  auto operator<=>(const CodeRange&) const = default;
};

class CodeSet {
 public:
  CodeSet() = default;
  explicit CodeSet(std::vector<CodeRange> ranges);  // in any order, overlapping or not
  static CodeSet of(char32_t c) { return CodeSet({{c, c}}); }
  static CodeSet all();

  const std::vector<CodeRange>& ranges() const { return ranges_; }  // in order, with gaps between
  bool empty() const { return ranges_.empty(); }
  bool contains(char32_t c) const;
  bool operator==(const CodeSet&) const = default;
  auto operator<=>(const CodeSet&) const = default;

  CodeSet operator|(const CodeSet& other) const;
  CodeSet operator&(const CodeSet& other) const;
  CodeSet operator~() const;

 private:
  std::vector<CodeRange> ranges_;
};

}  // namespace arc
