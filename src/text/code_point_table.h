// A value for every code point, in pages of 256; pages with one value only are shared.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <vector>

namespace arc {

constexpr char32_t kMaxCodePoint = 0x10FFFF;

template <typename T>
class CodePointTable {
 public:
  CodePointTable() : page_of_((kMaxCodePoint >> 8) + 1, uniform_page(T())) {}

  T operator[](char32_t c) const { return c > kMaxCodePoint ? T() : pages_[page_of_[c >> 8]][c & 0xFF]; }

  void set(char32_t first, char32_t last, T value) {
    for (char32_t page = first >> 8; page <= last >> 8; ++page) {
      const size_t begin = page == first >> 8 ? first & 0xFF : 0;
      const size_t end = page == last >> 8 ? (last & 0xFF) + 1 : 256;
      if (begin == 0 && end == 256) {
        page_of_[page] = uniform_page(value);
      } else {
        auto& own = own_page(page);
        std::fill(own.begin() + begin, own.begin() + end, value);
      }
    }
  }

 private:
  uint16_t uniform_page(T value) {
    const auto [it, added] = uniform_.try_emplace(value, static_cast<uint16_t>(pages_.size()));
    if (added) {
      pages_.emplace_back().fill(value);
      shared_.push_back(true);
    }
    return it->second;
  }
  std::array<T, 256>& own_page(char32_t page) {
    if (shared_[page_of_[page]]) {
      const auto copy = pages_[page_of_[page]];
      page_of_[page] = static_cast<uint16_t>(pages_.size());
      pages_.push_back(copy);
      shared_.push_back(false);
    }
    return pages_[page_of_[page]];
  }

  std::vector<std::array<T, 256>> pages_;
  std::vector<bool> shared_;       // by page
  std::map<T, uint16_t> uniform_;  // the page that holds one value only
  std::vector<uint16_t> page_of_;  // by code point / 256
};

}  // namespace arc
