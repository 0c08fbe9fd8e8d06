// GPUs in a build without CUDA: find() says so, and nobody asks further.
#include <cstdlib>

#include "base/check.h"
#include "exec/cuda/cuda_backend.h"

namespace arc::gpu {
namespace {

[[noreturn]] void absent() {
  ARC_CHECK(false) << "a build without CUDA has no GPU";
  std::abort();
}

}  // namespace

CudaDevice find() {
  return find_cuda_device();
}

const KernelTable& kernels() {
  absent();
}
std::string problem(const Plan&, const StepCapacity&, const CudaDevice&) {
  absent();
}
int64_t work_bytes(const Plan&, const StepCapacity&) {
  absent();
}
int64_t scratch_bytes(const Plan&, const StepCapacity&) {
  absent();
}
PackWeight uploader(Device) {
  absent();
}
PlaceWeight stager(Device) {
  absent();
}
std::unique_ptr<Executor> make(Plan, LoadedWeights, const StepCapacity&, const CudaDevice&) {
  absent();
}

}  // namespace arc::gpu
