// The CUDA executor as tests see it.
#pragma once

#include "parity/tiny_model.h"
#include "tensor/device_memory.h"

namespace arc::test {

// For TinyOptions; lives as long as the program. Throws Error when a plan cannot run on the device.
const Backend& cuda_backend(const CudaDevice& device);

}  // namespace arc::test
