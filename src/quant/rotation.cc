#include "quant/rotation.h"

#include <cmath>
#include <numbers>

#include "base/check.h"
#include "base/counter_rng.h"

namespace arc {
namespace {

constexpr int kMaxOdd = 15;

}  // namespace

Rotation::Rotation(int dim, uint32_t seed) : signs_(static_cast<size_t>(dim)) {
  for (odd_ = dim; odd_ % 2 == 0; odd_ /= 2) {
  }
  ARC_CHECK(dim >= 1 && odd_ <= kMaxOdd) << dim;
  for (int i = 0; i < dim; ++i) {
    const Philox random = philox(seed, static_cast<uint64_t>(i / 128), static_cast<uint64_t>(dim));
    signs_[i] = (random.word[i % 128 / 32] >> (i % 32) & 1u) != 0 ? -1.0f : 1.0f;
  }
  const double scale = 1.0 / std::sqrt(dim);
  for (int j = 0; j < odd_; ++j) {
    for (int k = 0; k < odd_; ++k) {
      const double angle = 2 * std::numbers::pi * (j * k % odd_) / odd_;
      hartley_.push_back(static_cast<float>(scale * (std::cos(angle) + std::sin(angle))));
    }
  }
}

template <typename T>
void Rotation::apply(T* x) const {
  const int n = dim();
  for (int i = 0; i < n; ++i) x[i] *= signs_[i];
  for (int step = odd_; step < n; step *= 2) {
    for (int begin = 0; begin < n; begin += 2 * step) {
      for (int i = begin; i < begin + step; ++i) {
        const T a = x[i], b = x[i + step];
        x[i] = a + b;
        x[i + step] = a - b;
      }
    }
  }
  for (int begin = 0; begin < n; begin += odd_) {
    T mixed[kMaxOdd];
    for (int j = 0; j < odd_; ++j) {
      mixed[j] = 0;
      for (int k = 0; k < odd_; ++k) mixed[j] += hartley_[j * odd_ + k] * x[begin + k];
    }
    for (int j = 0; j < odd_; ++j) x[begin + j] = mixed[j] * signs_[begin + j];
  }
}

template void Rotation::apply(float* x) const;
template void Rotation::apply(double* x) const;

}  // namespace arc
