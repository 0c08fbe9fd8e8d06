// A set of byte strings with a number each, made for finding those that start at a position of a text.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace arc {

class Trie {
 public:
  using Entry = std::pair<std::string_view, int32_t>;  // text, a number from 0 on

  Trie() : nodes_(1), labels_(1, '\0') { first_.fill(kNowhere); }
  // Empty texts are left out; of equal texts the first counts.
  explicit Trie(std::vector<Entry> entries);

  static constexpr int32_t kRoot = 0;
  static constexpr int32_t kNowhere = -1;

  // The node that `byte` leads to, or kNowhere.
  int32_t step(int32_t node, char byte) const;
  int32_t walk(int32_t node, std::string_view bytes) const;
  // The number of the text that ends at `node`, or -1.
  int32_t value(int32_t node) const { return nodes_[static_cast<size_t>(node)].value; }

  struct Match {
    int32_t value = -1;  // -1: none
    size_t size = 0;
  };
  // The longest text that, after what led to `from`, starts `text`.
  Match longest(std::string_view text, int32_t from = kRoot) const;

 private:
  struct Node {
    int32_t first_child = 0;  // children are neighbours, in order of their bytes
    int32_t n_children = 0;
    int32_t value = -1;
  };

  std::array<int32_t, 256> first_{};  // the root's children by byte
  std::vector<Node> nodes_;
  std::string labels_;  // by node: the byte that leads to it
};

}  // namespace arc
