#include "exec/cuda/cuda_backend.h"

#include <algorithm>
#include <utility>

#include "fmt/format.h"

#include "base/check.h"
#include "base/error.h"
#include "exec/cuda/cuda_executor.h"
#include "kernels/cuda/cuda_kernels.h"
#include "kernels/cuda/limits.h"
#include "kernels/cuda/scratch.h"

namespace arc::gpu {
namespace {

Error copy_failed() {
  return Error(ErrorCode::resource, fmt::format("copying a weight to the GPU failed ({})", Scope::path()));
}

Tensor moved(const Tensor& host, Device device) {
  if (!host.defined() || host.device() == device) return host;
  Tensor there = Tensor::zeros(host.shape(), host.dtype(), device);
  if (!copy_bytes(there.data(), device, host.data(), {}, host.size_bytes())) throw copy_failed();
  return there;
}

// What no kernel can do for a plan, in words; empty: all of it runs.
std::string missing(const Plan& plan, const StepCapacity& capacity) {
  for (const Stage& stage : plan.stages) {
    const std::string_view lack = cuda::why_not(stage.args);
    if (!lack.empty()) return fmt::format("{} ({})", lack, op_name(stage.args));
  }
  for (const WeightSlot& weight : plan.weights) {
    const std::string_view lack = weight.role == WeightSlot::Role::matrix ? cuda::why_not(weight.format) : "";
    if (!lack.empty()) return fmt::format("{} ({} in {})", lack, weight.name, to_string(weight.format));
  }
  const int32_t rows = std::max(capacity.tokens, capacity.rows);
  return rows > cuda::kMaxStepRows ? fmt::format("steps of {} tokens", rows) : "";
}

double gigabytes(int64_t bytes) {
  return static_cast<double>(bytes) / 1e9;
}

}  // namespace

CudaDevice find() {
  CudaDevice device = find_cuda_device();
  if (device.problem.empty() && !cuda::runs_here()) {
    device.problem = fmt::format("this build of Arc has no code for {} (sm_{}); build with -DARC_CUDA_ARCHS={}",
                                 device.name, device.capability, device.capability);
  }
  return device;
}

const KernelTable& kernels() {
  return cuda::kernels();
}

int64_t scratch_bytes(const Plan& plan, const StepCapacity& capacity) {
  int64_t most = 0;
  for (const Stage& stage : plan.stages)
    most = std::max(most, cuda::scratch_bytes(stage.args, capacity.tokens, capacity.positions));
  return most;
}

std::string problem(const Plan& plan, const StepCapacity& capacity, const CudaDevice& device) {
  if (const std::string lack = missing(plan, capacity); !lack.empty()) {
    return fmt::format("the GPU has no kernels for {}; run with --executor cpu", lack);
  }
  int64_t weights = 0;
  for (const WeightSlot& weight : plan.weights) weights += weight_bytes(weight);
  const int64_t work = work_bytes(plan, capacity);
  if (weights + work <= device.free_bytes) return {};
  return fmt::format(
      "the GPU has {:.1f} GB free of {:.1f} GB; weights take {:.1f} GB and buffers {:.1f} GB: choose a "
      "smaller model or format, or run with --executor cpu",
      gigabytes(device.free_bytes), gigabytes(device.memory_bytes), gigabytes(weights), gigabytes(work));
}

PlaceWeight stager(Device device) {
  const auto staging = std::make_shared<Staging>(device);
  return [device, staging](const Shape& shape, DType dtype, std::span<const HostPiece> pieces) {
    Tensor there = Tensor::zeros(shape, dtype, device);
    if (!staging->copy(there.data(), pieces)) throw copy_failed();
    return there;
  };
}

PackWeight uploader(Device device) {
  return [device](WeightId, Linear& weight) {
    weight.data = moved(weight.data, device);
    weight.bias = moved(weight.bias, device);
  };
}

int64_t work_bytes(const Plan& plan, const StepCapacity& capacity) {
  int64_t bytes = scratch_bytes(plan, capacity) + DeviceSampler::device_bytes(sampled_rows(plan, capacity), plan.vocab);
  for (const Buffer& buffer : plan.buffers) {
    const int64_t rows = buffer.rows == Buffer::Rows::tokens ? capacity.tokens : capacity.rows;
    bytes += rows * buffer.cols * static_cast<int64_t>(dtype_size(buffer.dtype));
  }
  return bytes;
}

std::unique_ptr<Executor> make(Plan plan, LoadedWeights weights, const StepCapacity& capacity,
                               const CudaDevice& device) {
  return std::make_unique<CudaExecutor>(std::move(plan), std::move(weights), capacity, device);
}

}  // namespace arc::gpu
