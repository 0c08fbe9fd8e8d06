// Steps that follow each other on the device without the host: a graph with a WHILE node, and the ring through which
// their tokens come.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "exec/executor.h"
#include "kernels/cuda/loop.h"

namespace arc {

// A graph and what runs it (cudaGraph_t, cudaGraphExec_t).
class DeviceGraph {
 public:
  DeviceGraph() = default;
  DeviceGraph(DeviceGraph&& other) noexcept
      : graph_(std::exchange(other.graph_, nullptr)), exec_(std::exchange(other.exec_, nullptr)) {}
  DeviceGraph& operator=(DeviceGraph&& other) noexcept {
    std::swap(graph_, other.graph_);
    std::swap(exec_, other.exec_);
    return *this;
  }
  ~DeviceGraph();
  explicit operator bool() const { return exec_ != nullptr; }
  void* exec() const { return exec_; }

 private:
  friend struct GraphMaker;
  void *graph_ = nullptr, *exec_ = nullptr;
};

// What `launch` puts on `stream`, as a graph. Empty: CUDA refused, and `why` says what.
DeviceGraph capture_graph(void* stream, const std::function<void()>& launch, std::string& why);

class TokenLoop {
 public:
  static constexpr int32_t kMaxStopIds = 64;  // of a row

  // For up to `max_rows` rows; the ring holds `ring_entries`. Throws Error(resource).
  TokenLoop(int32_t max_rows, int64_t ring_entries, Device device);
  ~TokenLoop();
  TokenLoop(const TokenLoop&) = delete;
  TokenLoop& operator=(const TokenLoop&) = delete;

  // A loop whose body is what `step` launches, and then the advance stage. Fields of `call` that belong to the loop are
  // set here; `step` sees the call complete. Empty as capture_graph().
  DeviceGraph capture(cuda::AdvanceCall call, void* stream, const std::function<void(const cuda::AdvanceCall&)>& step,
                      std::string& why);

  struct Start {
    int32_t lease = 1;                       // steps
    std::span<const cuda::LoopRow> rows;     // [R]
    std::span<const int32_t> stop_ids = {};  // [R, n_stop_ids]
    int32_t n_stop_ids = 0;
  };
  struct End {
    RunOutcome outcome = RunOutcome::ok;
    cuda::LoopEnd why = cuda::LoopEnd::running;
  };
  // Runs the graph to its end; entries go to `sink` as they come. A non-zero `attention` (may be null) ends the loop.
  End run(const DeviceGraph& graph, void* stream, const Start& start, const std::atomic<int32_t>* attention,
          const std::function<void(std::span<const cuda::RingEntry>)>& sink) noexcept;

  void set_patience_ms(int64_t ms) { patience_ms_ = ms; }  // of loops captured from now on

 private:
  int64_t read_entries(const std::function<void(std::span<const cuda::RingEntry>)>& sink) noexcept;

  int32_t max_rows_ = 0;
  uint64_t capacity_ = 0, tail_ = 0;
  int64_t patience_ms_ = 10'000;
  std::shared_ptr<Storage> memory_;
  cuda::LoopState* state_ = nullptr;
  cuda::LoopRow* rows_ = nullptr;
  int32_t* stop_ids_ = nullptr;
  // Pinned, seen by the device.
  std::byte* pinned_ = nullptr;
  cuda::RingControl* control_ = nullptr;
  cuda::RingEntry* ring_ = nullptr;
};

}  // namespace arc
