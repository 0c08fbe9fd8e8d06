#include "exec/cuda/cuda_executor.h"

#include <algorithm>
#include <cuda_runtime.h>
#include <utility>

#include "fmt/format.h"

#include "base/check.h"
#include "base/error.h"
#include "base/log.h"
#include "exec/sample_row.h"
#include "kernels/cuda/scratch.h"

namespace arc {
namespace {

constexpr Device kCuda{.kind = Device::Kind::cuda};

Tensor moved(const Tensor& host, Device device) {
  if (!host.defined()) return {};
  Tensor there = Tensor::zeros(host.shape(), host.dtype(), device);
  if (!copy_bytes(there.data(), device, host.data(), {}, host.size_bytes())) {
    throw Error(ErrorCode::resource, "copying a weight to the GPU failed");
  }
  return there;
}

void check_kernels(const Plan& plan) {
  for (const Stage& stage : plan.stages) {
    if (stage.launch == nullptr) {
      throw Error(ErrorCode::unsupported,
                  fmt::format("the GPU has no kernel for \"{}\"; run with --executor cpu", op_name(stage.args)));
    }
  }
}

int64_t scratch_of(const Plan& plan, int64_t tokens) {
  int64_t most = 0;
  for (const Stage& stage : plan.stages) most = std::max(most, cuda::scratch_bytes(stage.args, tokens));
  return most;
}

}  // namespace

PackWeight CudaExecutor::uploader(Device device) {
  return [device](WeightId, Linear& weight) {
    weight.data = moved(weight.data, device);
    weight.bias = moved(weight.bias, device);
  };
}

CudaExecutor::CudaExecutor(Plan plan, LoadedWeights weights, const StepCapacity& capacity, const CudaDevice& device)
    : plan_(std::move(plan)),
      weights_(std::move(weights)),
      capacity_(capacity),
      info_(device),
      bound_(plan_, capacity, kCuda),
      logits_(Tensor::zeros({capacity.rows, plan_.vocab}, DType::f32)),
      sampler_(plan_.vocab) {
  check_kernels(plan_);
  scratch_ = Storage::allocate(static_cast<size_t>(scratch_of(plan_, capacity.tokens)), kCuda);
  cudaStream_t stream = nullptr;
  if (cudaStreamCreate(&stream) != cudaSuccess) throw Error(ErrorCode::resource, "the GPU gives no stream");
  stream_ = stream;
}

CudaExecutor::~CudaExecutor() {
  cudaStreamDestroy(static_cast<cudaStream_t>(stream_));
}

void CudaExecutor::allocate_cache(const CacheCapacity& capacity) {
  cache_.emplace(plan_.groups, capacity, kCuda);
  bound_.bind(plan_, weights_, *cache_);
  // Tokens, positions, slots and rows; and per sequence its tables, which cannot name more blocks than there are tokens
  // of context in the cache, twice over.
  int64_t bytes = int64_t{capacity_.tokens} * 64 + int64_t{capacity_.rows} * 64 + (int64_t{1} << 16);
  for (size_t g = 0; g < plan_.groups.size(); ++g) {
    bytes += int64_t{capacity_.tokens} * (plan_.max_positions / plan_.groups[g].policy.tile_tokens + 2) * 4 + 4096;
  }
  upload_ = std::make_unique<StepUpload>(static_cast<size_t>(bytes));
}

void CudaExecutor::swap_out(std::span<const StepCopy> copies) noexcept {
  for (const StepCopy& copy : copies) cache_->swap_out(copy);
}
void CudaExecutor::swap_in(std::span<const StepCopy> copies) noexcept {
  for (const StepCopy& copy : copies) cache_->swap_in(copy);
}

bool CudaExecutor::run_stages(const StepInputs& inputs) {
  const StepInputs& on_device = upload_->upload(inputs, stream_);
  bound_.set_rows(plan_, inputs);
  for (size_t i = 0; i < plan_.stages.size(); ++i) {
    const Stage& stage = plan_.stages[i];
    Operands operands = bound_.operands(i, on_device);
    operands.stream = stream_;
    operands.scratch = scratch_->data();
    stage.launch(stage.args, operands);
    if (!observer_) continue;
    if (cudaStreamSynchronize(static_cast<cudaStream_t>(stream_)) != cudaSuccess) return false;
    observer_(i);
  }
  if (inputs.n_rows > 0) {
    const TensorView logits = bound_.buffer(plan_.logits);
    cudaMemcpyAsync(logits_.data(), logits.data, static_cast<size_t>(inputs.n_rows) * plan_.vocab * sizeof(float),
                    cudaMemcpyDeviceToHost, static_cast<cudaStream_t>(stream_));
  }
  return cudaStreamSynchronize(static_cast<cudaStream_t>(stream_)) == cudaSuccess;
}

RunOutcome CudaExecutor::run(const StepInputs& inputs, std::span<RowResult> results) noexcept {
  ARC_CHECK(inputs.n_tokens <= capacity_.tokens && inputs.n_rows <= capacity_.rows) << inputs.n_tokens << " tokens";
  for (int32_t i = 0; i < inputs.n_copies; ++i) cache_->copy(inputs.copies[i]);
  if (!run_stages(inputs)) {
    log_error("GPU fault: {}", cudaGetErrorString(cudaGetLastError()));
    return RunOutcome::device_fault;
  }
  const TensorView logits = logits_.view();
  for (int32_t r = 0; r < inputs.n_rows; ++r) sample_row(sampler_, inputs, logits, r, results[r]);
  return RunOutcome::ok;
}

Tensor CudaExecutor::read_buffer(BufferId id, int64_t rows) const {
  const TensorView view = bound_.buffer(id);
  Tensor host = Tensor::zeros({rows, view.cols}, view.dtype);
  copy_bytes(host.data(), {}, static_cast<const std::byte*>(view.data), kCuda, host.size_bytes());
  return host;
}

std::string CudaExecutor::describe() const {
  return fmt::format("CUDA executor on {} (sm_{}, {} SMs): {} stages, a launch each; sampling on the CPU", info_.name,
                     info_.capability, info_.n_processors, plan_.stages.size());
}

}  // namespace arc
