#include "exec/cuda/token_loop.h"

#include <algorithm>
#include <chrono>
#include <cuda_runtime.h>
#include <immintrin.h>
#include <new>
#include <thread>

#include "base/check.h"
#include "base/error.h"
#include "base/log.h"

namespace arc {
namespace {

using Clock = std::chrono::steady_clock;

cudaStream_t stream_of(void* stream) {
  return static_cast<cudaStream_t>(stream);
}

size_t ring_offset() {
  return sizeof(cuda::RingControl);
}

}  // namespace

// Makes a graph step by step and notes the first error.
struct GraphMaker {
  std::string& why;
  DeviceGraph made = {};

  bool ok(cudaError_t error, const char* what) {
    if (error == cudaSuccess) return true;
    if (why.empty()) why = std::string(what) + ": " + cudaGetErrorString(error);
    cudaGetLastError();  // clears it
    return false;
  }
  cudaGraph_t* graph() { return reinterpret_cast<cudaGraph_t*>(&made.graph_); }
  DeviceGraph finish() {
    auto* const exec = reinterpret_cast<cudaGraphExec_t*>(&made.exec_);
    if (!ok(cudaGraphInstantiate(exec, *graph(), 0), "cudaGraphInstantiate")) *exec = nullptr;
    return std::move(made);
  }
};

DeviceGraph::~DeviceGraph() {
  if (exec_ != nullptr) cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(exec_));
  if (graph_ != nullptr) cudaGraphDestroy(static_cast<cudaGraph_t>(graph_));
}

DeviceGraph capture_graph(void* stream, const std::function<void()>& launch, std::string& why) {
  GraphMaker make{.why = why};
  if (!make.ok(cudaStreamBeginCapture(stream_of(stream), cudaStreamCaptureModeThreadLocal), "capture")) return {};
  launch();
  if (!make.ok(cudaStreamEndCapture(stream_of(stream), make.graph()), "end of capture")) return {};
  return make.finish();
}

TokenLoop::TokenLoop(int32_t max_rows, int64_t ring_entries, Device device)
    : max_rows_(max_rows), capacity_(static_cast<uint64_t>(ring_entries)) {
  ARC_CHECK(max_rows <= cuda::kMaxLoopRows && ring_entries >= max_rows) << max_rows << " rows";
  const size_t rows = static_cast<size_t>(max_rows), state_bytes = 256, row_bytes = rows * sizeof(cuda::LoopRow);
  memory_ = Storage::allocate(state_bytes + row_bytes + rows * kMaxStopIds * 4, device);
  state_ = reinterpret_cast<cuda::LoopState*>(memory_->data());
  rows_ = reinterpret_cast<cuda::LoopRow*>(memory_->data() + state_bytes);
  stop_ids_ = reinterpret_cast<int32_t*>(memory_->data() + state_bytes + row_bytes);
  const size_t bytes = ring_offset() + capacity_ * sizeof(cuda::RingEntry);
  if (cudaHostAlloc(&pinned_, bytes, cudaHostAllocMapped) != cudaSuccess) {
    throw Error(ErrorCode::resource, "no pinned memory for the GPU's tokens");
  }
  control_ = new (pinned_) cuda::RingControl;
  ring_ = reinterpret_cast<cuda::RingEntry*>(pinned_ + ring_offset());
  cuda::load_loop_kernels();
}

TokenLoop::~TokenLoop() {
  cudaFreeHost(pinned_);
}

DeviceGraph TokenLoop::capture(cuda::AdvanceCall call, void* stream,
                               const std::function<void(const cuda::AdvanceCall&)>& step, std::string& why) {
  GraphMaker make{.why = why};
  cudaGraphConditionalHandle condition = 0;
  if (!make.ok(cudaGraphCreate(make.graph(), 0), "cudaGraphCreate")) return {};
  if (!make.ok(cudaGraphConditionalHandleCreate(&condition, *make.graph(), 1, cudaGraphCondAssignDefault), "condition"))
    return {};
  cudaGraphNodeParams params{};
  params.type = cudaGraphNodeTypeConditional;
  params.conditional.handle = condition;
  params.conditional.type = cudaGraphCondTypeWhile;
  params.conditional.size = 1;
  cudaGraphNode_t node = nullptr;
#if CUDART_VERSION >= 13000
  const cudaError_t added = cudaGraphAddNode(&node, *make.graph(), nullptr, nullptr, 0, &params);
#else
  const cudaError_t added = cudaGraphAddNode(&node, *make.graph(), nullptr, 0, &params);
#endif
  if (!make.ok(added, "WHILE node")) return {};

  call.state = state_;
  call.rows = rows_;
  call.stop_ids = stop_ids_;
  call.control = control_;
  call.ring = ring_;
  call.capacity = capacity_;
  call.patience_ns = static_cast<uint64_t>(patience_ms_) * 1'000'000;
  call.condition = condition;
  cudaGraph_t body = params.conditional.phGraph_out[0];
  if (!make.ok(
          cudaStreamBeginCaptureToGraph(stream_of(stream), body, nullptr, nullptr, 0, cudaStreamCaptureModeThreadLocal),
          "capture of the body"))
    return {};
  step(call);
  cuda::advance(call, stream);
  if (!make.ok(cudaStreamEndCapture(stream_of(stream), nullptr), "end of the body's capture")) return {};
  return make.finish();
}

int64_t TokenLoop::read_entries(const std::function<void(std::span<const cuda::RingEntry>)>& sink) noexcept {
  const uint64_t head = std::atomic_ref(control_->head).load(std::memory_order_acquire);
  const auto n = static_cast<int64_t>(head - tail_);
  while (tail_ < head) {
    const uint64_t at = tail_ % capacity_, run = std::min(head - tail_, capacity_ - at);
    sink({ring_ + at, run});
    tail_ += run;
  }
  if (n > 0) std::atomic_ref(control_->tail).store(tail_, std::memory_order_release);
  return n;
}

TokenLoop::End TokenLoop::run(const DeviceGraph& graph, void* stream, const Start& start,
                              const std::atomic<int32_t>* attention,
                              const std::function<void(std::span<const cuda::RingEntry>)>& sink) noexcept {
  ARC_CHECK(static_cast<int32_t>(start.rows.size()) <= max_rows_ && start.n_stop_ids <= kMaxStopIds);
  const std::atomic_ref ended(control_->ended);
  ended.store(0);
  control_->attention = 0;
  const cuda::LoopState state{.lease = start.lease, .n_stop_ids = start.n_stop_ids, .head = tail_, .tail = tail_};
  const auto up = [&](void* device, const void* host, size_t bytes) {
    if (bytes > 0) cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, stream_of(stream));
  };
  up(state_, &state, sizeof state);
  up(rows_, start.rows.data(), start.rows.size_bytes());
  up(stop_ids_, start.stop_ids.data(), start.stop_ids.size_bytes());
  cudaError_t error = cudaGraphLaunch(static_cast<cudaGraphExec_t>(graph.exec()), stream_of(stream));

  // No CUDA call from here on, unless nothing comes for a while: then the device may have failed.
  constexpr auto kStall = std::chrono::milliseconds(500);
  auto last = Clock::now();
  int idle = 0;
  while (error == cudaSuccess && ended.load(std::memory_order_acquire) == 0) {
    if (attention != nullptr && attention->load() != 0) std::atomic_ref(control_->attention).store(1);
    if (read_entries(sink) > 0) {
      last = Clock::now();
      idle = 0;
      continue;
    }
    _mm_pause();
    if (++idle < 2000) continue;
    std::this_thread::sleep_for(std::chrono::microseconds(20));
    if (Clock::now() - last < kStall) continue;
    last = Clock::now();
    error = cudaStreamQuery(stream_of(stream));
    if (error == cudaSuccess) break;  // the graph is done; its last words are below
    if (error == cudaErrorNotReady) error = cudaSuccess;
  }
  read_entries(sink);
  if (error == cudaSuccess) error = cudaStreamSynchronize(stream_of(stream));
  const auto why = static_cast<cuda::LoopEnd>(ended.load());
  if (error == cudaSuccess && why != cuda::LoopEnd::running) return {.why = why};
  log_error("GPU fault in a loop of steps: {}", error == cudaSuccess ? "it ended early" : cudaGetErrorString(error));
  return {.outcome = RunOutcome::device_fault, .why = why};
}

}  // namespace arc
