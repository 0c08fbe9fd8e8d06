#include "text/code_set.h"

#include <algorithm>

#include "text/code_point_table.h"

namespace arc {

CodeSet::CodeSet(std::vector<CodeRange> ranges) {
  std::ranges::sort(ranges);
  for (const CodeRange& range : ranges) {
    if (!ranges_.empty() && range.first <= ranges_.back().last + 1) {
      ranges_.back().last = std::max(ranges_.back().last, range.last);
    } else {
      ranges_.push_back(range);
    }
  }
}

CodeSet CodeSet::all() {
  return CodeSet({{0, kMaxCodePoint}});
}

bool CodeSet::contains(char32_t c) const {
  const auto it = std::ranges::lower_bound(ranges_, c, {}, &CodeRange::last);
  return it != ranges_.end() && it->first <= c;
}

CodeSet CodeSet::operator|(const CodeSet& other) const {
  std::vector<CodeRange> both = ranges_;
  both.insert(both.end(), other.ranges_.begin(), other.ranges_.end());
  return CodeSet(std::move(both));
}

CodeSet CodeSet::operator&(const CodeSet& other) const {
  return ~(~*this | ~other);
}

CodeSet CodeSet::operator~() const {
  CodeSet result;
  char32_t next = 0;
  for (const CodeRange& range : ranges_) {
    if (range.first > next) result.ranges_.push_back({next, range.first - 1});
    next = range.last + 1;
  }
  if (next <= kMaxCodePoint) result.ranges_.push_back({next, kMaxCodePoint});
  return result;
}

}  // namespace arc
