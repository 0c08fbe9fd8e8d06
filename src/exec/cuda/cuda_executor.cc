#include "exec/cuda/cuda_executor.h"

#include <algorithm>
#include <cuda_runtime.h>
#include <utility>
#include <vector>

#include "fmt/format.h"

#include "base/check.h"
#include "base/error.h"
#include "base/log.h"
#include "exec/cuda/cuda_backend.h"
#include "exec/sample_row.h"

namespace arc {
namespace {

cudaStream_t stream_of(void* stream) {
  return static_cast<cudaStream_t>(stream);
}

}  // namespace

CudaExecutor::CudaExecutor(Plan plan, LoadedWeights weights, const StepCapacity& capacity, const CudaDevice& device)
    : plan_(std::move(plan)),
      weights_(std::move(weights)),
      capacity_(capacity),
      info_(device),
      bound_(plan_, capacity, device.device()),
      upload_(plan_, capacity),
      scratch_(Storage::allocate(static_cast<size_t>(gpu::scratch_bytes(plan_, capacity)), device.device())),
      logits_(Tensor::zeros({capacity.rows, plan_.vocab}, DType::f32)),
      sampler_(plan_.vocab) {
  for (const Stage& stage : plan_.stages) ARC_CHECK(stage.launch != nullptr) << op_name(stage.args);
  cudaStream_t stream = nullptr;
  if (cudaStreamCreate(&stream) != cudaSuccess) throw Error(ErrorCode::resource, "the GPU gives no stream");
  stream_ = stream;
}

CudaExecutor::~CudaExecutor() {
  cudaStreamDestroy(stream_of(stream_));
}

void CudaExecutor::allocate_cache(const CacheCapacity& capacity) {
  cache_.emplace(plan_.groups, capacity, info_.device());
  bound_.bind(plan_, weights_, *cache_);
}

// The stream waits for the copies: both are in order with the default stream.
void CudaExecutor::swap_out(std::span<const StepCopy> copies) noexcept {
  for (const StepCopy& copy : copies) cache_->swap_out(copy);
}
void CudaExecutor::swap_in(std::span<const StepCopy> copies) noexcept {
  for (const StepCopy& copy : copies) cache_->swap_in(copy);
}

// Whether the device is well; if not, the log says what it was at: `stage`, or null: anywhere in the step.
bool CudaExecutor::works(int32_t error, const Stage* stage) const {
  if (error == cudaSuccess) return true;
  const auto* name = cudaGetErrorName(static_cast<cudaError_t>(error));
  const auto* text = cudaGetErrorString(static_cast<cudaError_t>(error));
  if (stage == nullptr) {
    log_error("GPU fault in a step: {}: {}", name, text);
  } else {
    log_error("GPU fault at stage {} ({}, layer {}): {}: {}", stage - plan_.stages.data(), op_name(stage->args),
              stage->layer, name, text);
  }
  return false;
}

// Queues one stage; what CUDA says to it.
int32_t CudaExecutor::launch(size_t stage, const StepInputs& on_device) {
  Operands operands = bound_.operands(stage, on_device);
  operands.stream = stream_;
  operands.scratch = scratch_->data();
  plan_.stages[stage].launch(plan_.stages[stage].args, operands);
  return cudaGetLastError();
}

bool CudaExecutor::run_stages(const StepInputs& inputs) {
  const StepInputs& on_device = upload_.upload(inputs, stream_);
  bound_.set_rows(plan_, inputs);
  for (size_t i = 0; i < plan_.stages.size(); ++i) {
    const Stage* stage = &plan_.stages[i];
    if (!works(launch(i, on_device), stage)) return false;
    if (!observer_) continue;
    if (!works(cudaStreamSynchronize(stream_of(stream_)), stage)) return false;
    observer_(i);
  }
  if (inputs.n_rows > 0) {
    cudaMemcpyAsync(logits_.data(), bound_.buffer(plan_.logits).data,
                    static_cast<size_t>(inputs.n_rows) * plan_.vocab * sizeof(float), cudaMemcpyDeviceToHost,
                    stream_of(stream_));
  }
  return works(cudaStreamSynchronize(stream_of(stream_)), nullptr) && works(cudaGetLastError(), nullptr);
}

RunOutcome CudaExecutor::run(const StepInputs& inputs, std::span<RowResult> results) noexcept {
  ARC_CHECK(inputs.n_tokens <= capacity_.tokens && inputs.n_rows <= capacity_.rows) << inputs.n_tokens << " tokens";
  cudaSetDevice(info_.index);  // of this thread
  for (int32_t i = 0; i < inputs.n_copies; ++i) cache_->copy(inputs.copies[i]);
  if (!run_stages(inputs)) return RunOutcome::device_fault;
  const TensorView logits = logits_.view();
  for (int32_t r = 0; r < inputs.n_rows; ++r) sample_row(sampler_, inputs, logits, r, results[r]);
  return RunOutcome::ok;
}

double CudaExecutor::graph_seconds(const StepInputs& inputs, const std::function<bool(const Stage&)>& chosen,
                                   int replays) {
  cudaSetDevice(info_.index);
  cudaStream_t stream = stream_of(stream_);
  const StepInputs& on_device = upload_.upload(inputs, stream_);
  bound_.set_rows(plan_, inputs);
  cudaStreamSynchronize(stream);
  cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal);
  for (size_t i = 0; i < plan_.stages.size(); ++i) {
    if (chosen(plan_.stages[i])) launch(i, on_device);
  }
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t replay = nullptr;
  cudaEvent_t begin = nullptr, end = nullptr;
  cudaStreamEndCapture(stream, &graph);
  cudaGraphInstantiate(&replay, graph, 0);
  cudaEventCreate(&begin);
  cudaEventCreate(&end);
  std::vector<float> ms(static_cast<size_t>(replays) + 2);
  for (float& time : ms) {
    cudaEventRecord(begin, stream);
    cudaGraphLaunch(replay, stream);
    cudaEventRecord(end, stream);
    cudaEventSynchronize(end);
    cudaEventElapsedTime(&time, begin, end);
  }
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  if (replay != nullptr) cudaGraphExecDestroy(replay);
  if (graph != nullptr) cudaGraphDestroy(graph);
  if (!works(cudaGetLastError(), nullptr)) throw Error(ErrorCode::resource, "the GPU failed in a graph of stages");
  std::nth_element(ms.begin(), ms.begin() + replays / 2, ms.end());
  return ms[static_cast<size_t>(replays) / 2] * 1e-3;
}

Tensor CudaExecutor::read_buffer(BufferId id, int64_t rows) const {
  const TensorView view = bound_.buffer(id);
  Tensor host = Tensor::zeros({rows, view.cols}, view.dtype);
  copy_bytes(host.data(), {}, static_cast<const std::byte*>(view.data), info_.device(), host.size_bytes());
  return host;
}

void CudaExecutor::write_buffer(BufferId id, const TensorView& rows) {
  const TensorView view = bound_.buffer(id);
  copy_bytes(static_cast<std::byte*>(view.data), info_.device(), static_cast<const std::byte*>(rows.data), {},
             static_cast<size_t>(rows.rows * view.cols) * dtype_size(view.dtype));
}

std::string CudaExecutor::describe() const {
  return fmt::format("CUDA executor on {} (sm_{}, {} SMs): {} stages, a launch each; sampling on the CPU", info_.name,
                     info_.capability, info_.n_processors, plan_.stages.size());
}

}  // namespace arc
