#include "text/trie.h"

#include <algorithm>
#include <cstring>
#include <numeric>

namespace arc {
namespace {

// By text. Not std::stable_sort, whose helpers are deprecated.
void sort_stable(std::vector<Trie::Entry>& entries) {
  std::vector<size_t> order(entries.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::sort(order, {}, [&](size_t i) { return std::pair(entries[i].first, i); });
  std::vector<Trie::Entry> sorted;
  for (const size_t i : order) sorted.push_back(entries[i]);
  entries = std::move(sorted);
}

}  // namespace

Trie::Trie(std::vector<Entry> entries) : Trie() {
  sort_stable(entries);
  struct Range {  // of the entries that go through a node, and how many of their bytes lead to it
    size_t begin = 0, end = 0, depth = 0;
  };
  std::vector<Range> ranges = {{0, entries.size(), 0}};
  for (size_t node = 0; node < nodes_.size(); ++node) {
    auto [begin, end, depth] = ranges[node];
    if (depth > 0 && begin < end && entries[begin].first.size() == depth) nodes_[node].value = entries[begin].second;
    while (begin < end && entries[begin].first.size() == depth) ++begin;
    nodes_[node].first_child = static_cast<int32_t>(nodes_.size());
    while (begin < end) {
      const char byte = entries[begin].first[depth];
      size_t last = begin + 1;
      while (last < end && entries[last].first[depth] == byte) ++last;
      ranges.push_back({begin, last, depth + 1});
      nodes_.emplace_back();
      labels_ += byte;
      ++nodes_[node].n_children;
      begin = last;
    }
  }
  for (int32_t node = 1; node <= nodes_[0].n_children; ++node) {
    first_[static_cast<uint8_t>(labels_[static_cast<size_t>(node)])] = node;
  }
}

int32_t Trie::step(int32_t node, char byte) const {
  if (node == kRoot) return first_[static_cast<uint8_t>(byte)];
  const auto [first, n, value] = nodes_[static_cast<size_t>(node)];
  if (n == 0) return kNowhere;
  const char* labels = labels_.data() + first;
  const void* found = std::memchr(labels, byte, static_cast<size_t>(n));
  return found == nullptr ? kNowhere : first + static_cast<int32_t>(static_cast<const char*>(found) - labels);
}

int32_t Trie::walk(int32_t node, std::string_view bytes) const {
  for (size_t i = 0; i < bytes.size() && node != kNowhere; ++i) node = step(node, bytes[i]);
  return node;
}

Trie::Match Trie::longest(std::string_view text, int32_t from) const {
  Match longest;
  for (size_t i = 0; i < text.size(); ++i) {
    from = step(from, text[i]);
    if (from == kNowhere) break;
    if (value(from) >= 0) longest = {value(from), i + 1};
  }
  return longest;
}

}  // namespace arc
