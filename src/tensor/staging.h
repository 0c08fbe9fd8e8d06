// From the host's memory, a mapped file above all, to a device: threads read pieces into pinned buffers, and each goes
// on its way as soon as it is full, so that the disk, the processors and the bus work at once.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "tensor/tensor.h"

namespace arc {

// Bytes, and where they go.
struct HostPiece {
  size_t at = 0;
  std::span<const std::byte> bytes;
};

class Staging {
 public:
  // Throws Error(resource) when there is no memory to pin.
  explicit Staging(Device device);
  ~Staging();
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;

  // Copies pieces behind `to`, and waits until all is there. False after a device fault. One caller at a time.
  bool copy(std::byte* to, std::span<const HostPiece> pieces);

 private:
  class Lane;
  std::vector<std::unique_ptr<Lane>> lanes_;
};

}  // namespace arc
