// Where weights come from: names to tensors. Checkpoints implement it; tests make their own.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tensor/tensor.h"

namespace arc {

class TensorSource {
 public:
  virtual ~TensorSource() = default;
  // Null when there is no such tensor. Valid as long as the source.
  virtual const Tensor* find(std::string_view name) const = 0;
  virtual std::vector<std::string> names() const = 0;
  // The tensor's bytes will not be read again soon.
  virtual void release(std::string_view /*name*/) const {}
};

}  // namespace arc
