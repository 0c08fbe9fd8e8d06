// A part of a text, in bytes.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

namespace arc {

struct ByteRange {
  size_t begin = 0, end = 0;
  bool operator==(const ByteRange&) const = default;
};

// In ascending order, not empty, with a gap between neighbours.
using ByteRanges = std::vector<ByteRange>;

// Adds [begin, end), which starts at or after the end of the last one.
inline void append_range(ByteRanges& ranges, size_t begin, size_t end) {
  if (begin == end) return;
  if (!ranges.empty() && ranges.back().end == begin) {
    ranges.back().end = end;
  } else {
    ranges.push_back({begin, end});
  }
}

// The first range that ends after `at`, or null.
inline const ByteRange* range_after(std::span<const ByteRange> ranges, size_t at) {
  const auto it = std::ranges::upper_bound(ranges, at, {}, &ByteRange::end);
  return it == ranges.end() ? nullptr : &*it;
}

// What of `ranges` lies in [begin, end), counted from `begin`.
inline ByteRanges ranges_within(std::span<const ByteRange> ranges, size_t begin, size_t end) {
  ByteRanges within;
  const auto first = std::ranges::upper_bound(ranges, begin, {}, &ByteRange::end);
  for (auto it = first; it != ranges.end() && it->begin < end; ++it) {
    append_range(within, std::max(it->begin, begin) - begin, std::min(it->end, end) - begin);
  }
  return within;
}

}  // namespace arc
