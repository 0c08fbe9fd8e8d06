// Text cut into pieces that lie one after the other in one buffer: what flows through the pre-tokenizers.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace arc {

struct Pieces {
  std::string text;
  std::vector<size_t> ends;  // piece i is text[ends[i - 1], ends[i])
  bool at_start = false;     // piece 0 begins where the whole input begins

  size_t size() const { return ends.size(); }
  std::string_view operator[](size_t i) const {
    const size_t begin = i == 0 ? 0 : ends[i - 1];
    return std::string_view(text).substr(begin, ends[i] - begin);
  }
  void append(std::string_view piece) {
    text += piece;
    close();
  }
  // Ends the piece whose bytes were added to `text`. A piece never is empty.
  void close() {
    if (text.size() > (ends.empty() ? 0 : ends.back())) ends.push_back(text.size());
  }
};

}  // namespace arc
