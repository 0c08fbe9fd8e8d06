#include "tensor/shape.h"

#include <algorithm>

#include "fmt/format.h"
#include "fmt/ranges.h"

#include "base/check.h"

namespace arc {

Shape::Shape(std::span<const int64_t> dims) : rank_(static_cast<int>(dims.size())) {
  ARC_CHECK(dims.size() <= kMaxRank) << "rank " << dims.size();
  std::copy(dims.begin(), dims.end(), dims_);
  ARC_CHECK(checked_numel(dims).has_value()) << to_string();
}

int64_t Shape::numel() const {
  int64_t product = 1;
  for (int64_t size : dims()) product *= size;
  return product;
}

bool Shape::operator==(const Shape& other) const {
  return std::ranges::equal(dims(), other.dims());
}

std::string Shape::to_string() const {
  return fmt::format("[{}]", fmt::join(dims(), ", "));
}

std::optional<int64_t> Shape::checked_numel(std::span<const int64_t> dims) {
  int64_t product = 1;
  for (int64_t size : dims) {
    if (size < 0 || __builtin_mul_overflow(product, size, &product)) return std::nullopt;
  }
  return product;
}

}  // namespace arc
