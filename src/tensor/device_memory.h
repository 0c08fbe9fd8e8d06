// Memory of devices other than the CPU. In a build without CUDA there is none, and asking for it is an error.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "tensor/tensor.h"

namespace arc {

// What is known of a CUDA device before anything is loaded on it.
struct CudaDevice {
  int index = 0;
  std::string name;
  int capability = 0;  // 90 for sm_90
  int n_processors = 0;
  int64_t memory_bytes = 0, free_bytes = 0;
  int driver = 0, runtime = 0;  // 13000 for 13.0
  std::string problem;          // why it cannot be used, and the remedy; empty: it can

  Device device() const { return {.kind = Device::Kind::cuda, .index = static_cast<int8_t>(index)}; }
};

// Looks for device `index`; never throws. `problem` says when the build has no CUDA, the machine no driver or card.
CudaDevice find_cuda_device(int index = 0);

// Zeroed bytes. Throws Error(resource) that names the size and what is free.
std::byte* allocate_on(Device device, size_t size_bytes);
void free_on(Device device, std::byte* data) noexcept;

// Copies between any two places and waits until it is done. False after a device fault.
bool copy_bytes(std::byte* to, Device to_device, const std::byte* from, Device from_device, size_t size_bytes) noexcept;

}  // namespace arc
