// A stable sort for orders that values may break: NaN compares false with everything, which std::sort does not survive.
#pragma once

#include <algorithm>
#include <iterator>
#include <vector>

namespace arc::jinja {

// Merge sort. `less` may be inconsistent, and may throw.
template <typename T, typename Less>
void stable_sort(std::vector<T>& items, Less less) {
  const auto at = [&items](size_t i) {
    return std::make_move_iterator(items.begin() + static_cast<ptrdiff_t>(std::min(i, items.size())));
  };
  for (size_t width = 1; width < items.size(); width *= 2) {
    std::vector<T> merged;
    merged.reserve(items.size());
    for (size_t start = 0; start < items.size(); start += 2 * width) {
      std::merge(at(start), at(start + width), at(start + width), at(start + 2 * width), std::back_inserter(merged),
                 less);
    }
    items = std::move(merged);
  }
}

}  // namespace arc::jinja
