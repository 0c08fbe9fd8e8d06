#include "tensor/device_memory.h"

#include <algorithm>
#include <cstring>

#include "fmt/format.h"

#include "base/check.h"
#include "base/error.h"

#if ARC_CUDA
#include <cuda_runtime.h>
#endif

namespace arc {

#if ARC_CUDA
namespace {

constexpr int kLeastCapability = 80, kLeastDriver = 12040;

std::string version(int number) {
  return fmt::format("{}.{}", number / 1000, number % 1000 / 10);
}

}  // namespace

CudaDevice find_cuda_device(int index) {
  CudaDevice device{.index = index};
  int count = 0;
  cudaDriverGetVersion(&device.driver);
  cudaRuntimeGetVersion(&device.runtime);
  // Within one major version any driver runs what any toolkit built.
  const int least = std::max(kLeastDriver, device.runtime / 1000 * 1000);
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (device.driver == 0) {
    device.problem = "no NVIDIA driver was found; install one to use the GPU";
  } else if (device.driver < least) {
    device.problem = fmt::format("the NVIDIA driver supports CUDA {}; this build of Arc needs {}: update the driver",
                                 version(device.driver), version(least));
  } else if (error != cudaSuccess || count <= index) {
    device.problem = fmt::format("there is no CUDA device {} ({})", index, cudaGetErrorString(error));
  }
  cudaGetLastError();  // clears it
  if (!device.problem.empty()) return device;
  cudaDeviceProp properties;
  size_t free_bytes = 0, total_bytes = 0;
  if (cudaGetDeviceProperties(&properties, index) != cudaSuccess || cudaSetDevice(index) != cudaSuccess ||
      cudaMemGetInfo(&free_bytes, &total_bytes) != cudaSuccess) {
    device.problem = fmt::format("CUDA device {} does not answer: {}", index, cudaGetErrorString(cudaGetLastError()));
    return device;
  }
  device.name = properties.name;
  device.capability = 10 * properties.major + properties.minor;
  device.n_processors = properties.multiProcessorCount;
  device.memory_bytes = static_cast<int64_t>(total_bytes);
  device.free_bytes = static_cast<int64_t>(free_bytes);
  if (device.capability < kLeastCapability) {
    device.problem = fmt::format("{} has compute capability {}.{}; Arc needs 8.0 or newer", device.name,
                                 properties.major, properties.minor);
  }
  return device;
}

std::byte* allocate_on(Device device, size_t size_bytes) {
  ARC_CHECK(device.kind == Device::Kind::cuda);
  void* data = nullptr;
  cudaSetDevice(device.index);
  if (cudaMalloc(&data, size_bytes) != cudaSuccess || cudaMemset(data, 0, size_bytes) != cudaSuccess) {
    size_t free_bytes = 0, total_bytes = 0;
    cudaGetLastError();  // clears it
    cudaMemGetInfo(&free_bytes, &total_bytes);
    throw Error(
        ErrorCode::resource,
        fmt::format("GPU {} is out of memory: {} bytes are wanted, {} of {} are free; choose a smaller model or "
                    "format, or less --kv-memory",
                    device.index, size_bytes, free_bytes, total_bytes));
  }
  return static_cast<std::byte*>(data);
}

void free_on(Device, std::byte* data) noexcept {
  cudaFree(data);
}

bool copy_bytes(std::byte* to, Device to_device, const std::byte* from, Device from_device,
                size_t size_bytes) noexcept {
  if (to_device.kind == Device::Kind::cpu && from_device.kind == Device::Kind::cpu) {
    std::memcpy(to, from, size_bytes);
    return true;
  }
  return cudaMemcpy(to, from, size_bytes, cudaMemcpyDefault) == cudaSuccess;
}

#else

CudaDevice find_cuda_device(int) {
  return {.problem = "this build of Arc has no CUDA; build with -DARC_CUDA=ON to use a GPU"};
}

std::byte* allocate_on(Device, size_t) {
  throw Error(ErrorCode::unsupported, find_cuda_device().problem);
}

void free_on(Device, std::byte*) noexcept {}

bool copy_bytes(std::byte* to, Device, const std::byte* from, Device, size_t size_bytes) noexcept {
  std::memcpy(to, from, size_bytes);
  return true;
}

#endif

}  // namespace arc
