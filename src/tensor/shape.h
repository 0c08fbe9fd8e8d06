// Sizes of a tensor, outermost first.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>

namespace arc {

constexpr int kMaxRank = 6;

class Shape {
 public:
  Shape() = default;
  Shape(std::initializer_list<int64_t> dims) : Shape(std::span<const int64_t>(dims.begin(), dims.size())) {}
  explicit Shape(std::span<const int64_t> dims);  // at most kMaxRank sizes, none negative

  int rank() const { return rank_; }
  int64_t operator[](int axis) const { return dims_[axis]; }
  std::span<const int64_t> dims() const { return {dims_, static_cast<size_t>(rank_)}; }
  int64_t numel() const;

  bool operator==(const Shape& other) const;
  std::string to_string() const;  // "[4, 128]"

  // The element count of sizes from a file or a request: empty when a size is negative or the product overflows.
  static std::optional<int64_t> checked_numel(std::span<const int64_t> dims);

 private:
  int64_t dims_[kMaxRank] = {};
  int rank_ = 0;
};

}  // namespace arc
