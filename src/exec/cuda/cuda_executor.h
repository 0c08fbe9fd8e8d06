// The CUDA executor: one launch per stage on one stream, or a captured graph for steps that only decode; a resident
// grid for those of one sequence, where the plan has a tape; sampling on the device; leases as a loop on the device.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "exec/bound_plan.h"
#include "exec/cuda/decode_step.h"
#include "exec/cuda/device_sampler.h"
#include "exec/cuda/step_upload.h"
#include "exec/cuda/tape_decoder.h"
#include "exec/cuda/token_loop.h"
#include "tensor/device_memory.h"
#include "weights/load.h"

namespace arc {

class CudaExecutor : public Executor {
 public:
  // A plan without gpu::problem(), lowered with gpu::kernels(); its weights went through gpu::uploader(). Throws
  // Error(resource).
  CudaExecutor(Plan plan, LoadedWeights weights, const StepCapacity& capacity, const CudaDevice& device);
  ~CudaExecutor() override;

  void allocate_cache(const CacheCapacity& capacity) override;
  void swap_out(std::span<const StepCopy> copies) noexcept override;
  void swap_in(std::span<const StepCopy> copies) noexcept override;
  RunOutcome run(const StepInputs& inputs, std::span<RowResult> results) noexcept override;
  int32_t max_lease() const noexcept override { return kLeaseSteps; }
  bool can_lease(const StepInputs& inputs) noexcept override;
  RunOutcome run_lease(const StepInputs& inputs, const LeaseSink& sink) noexcept override;
  std::string describe() const override;

  // Whether steps that only decode run as captured graphs (the default). They give the same bits.
  void set_graphs(bool on) { use_graphs_ = on; }
  // Whether steps of one sequence run on the resident grid, where there is one: equal by bound to those in launches.
  // Called between steps.
  void set_tape(bool on);
  // Null: the plan has no tape, or the cache is not there yet.
  const TapeDecoder* tape() const { return tape_ ? &*tape_ : nullptr; }
  // Rows that the host had to sample so far.
  int64_t n_host_rows() const { return n_host_rows_; }
  // Why the last lease ended.
  cuda::LoopEnd lease_end() const { return lease_end_; }

  // For parity tests. Called after every stage, which is queued by then. Copies between its buffers and pinned memory
  // are queued behind it: what is read is there when the step is done, and what is written, the next stage sees.
  void set_observer(std::function<void(size_t stage)> observer) { observer_ = std::move(observer); }
  // For benches: median seconds of one replay of a graph of the stages that `chosen` takes. Launches cost the host
  // nothing there; what stages read may be stale.
  double graph_seconds(const StepInputs& inputs, const std::function<bool(const Stage&)>& chosen, int replays);
  // The same of a step of one sequence on the resident grid.
  double tape_seconds(const StepInputs& inputs, int replays);
  // For parity tests: the first stages of the tape's step of one sequence. False: the device failed.
  bool run_tape(const StepInputs& inputs, size_t n_stages);
  void queue_read(BufferId id, int64_t rows, std::byte* pinned) const;
  void queue_write(BufferId id, int64_t rows, const std::byte* pinned) const;
  // Once all that is queued is done: a copy on the host of the first `rows` rows; and back.
  Tensor read_buffer(BufferId id, int64_t rows) const;
  void write_buffer(BufferId id, const TensorView& rows);
  const BoundStage& stage(size_t index) const { return bound_.stage(index); }
  std::span<const Stage> stages() const { return plan_.stages; }

 private:
  static constexpr int32_t kLeaseSteps = 64;

  // Decode steps of a fixed number of rows.
  struct Bucket {
    int32_t n_rows = 0;
    std::vector<int32_t> strides;  // of the groups' block tables, when it was captured
    DeviceGraph step, loop;
  };

  void make_tape();
  bool by_tape(const StepInputs& inputs) const;
  bool sample(const StepInputs& on_device);
  bool launch_step(const StepInputs& on_device, bool tape);
  bool launch_stages(const StepInputs& on_device);
  bool run_stages(const StepInputs& inputs);
  void find_rounded();
  Operands operands(size_t stage, const StepInputs& on_device) const;
  size_t launch(size_t i, size_t end, const StepInputs& on_device);
  bool run_graph(const StepInputs& inputs);
  void fetch_hidden(const StepInputs& inputs);
  bool finish(const StepInputs& inputs, std::span<RowResult> results);
  int32_t max_bucket() const;
  Bucket* bucket_for(const StepInputs& inputs);
  bool capture(Bucket& bucket, const StepInputs& inputs);
  cuda::AdvanceCall advance_call(const StepInputs& on_device);
  bool works(int32_t error, const Stage* stage) const;
  double replay_seconds(const StepInputs& inputs, const std::function<void(const StepInputs&)>& launch, int replays);

  Plan plan_;
  LoadedWeights weights_;
  StepCapacity capacity_;
  CudaDevice info_;
  BoundPlan bound_;
  std::vector<char> rounded_;  // of stages: what they write for prompts is handed on as bf16
  std::optional<CacheStorage> cache_;
  StepUpload upload_;
  std::shared_ptr<Storage> scratch_;
  Tensor hidden_;  // [R, C] on the host, of rows that are wanted
  Tensor logits_;  // [R, V] on the host, of rows that the host samples
  DeviceSampler device_sampler_;
  Sampler sampler_;
  DecodeStep decode_;
  std::optional<TokenLoop> loop_;
  std::vector<std::unique_ptr<Bucket>> buckets_;
  std::vector<cuda::LoopRow> loop_rows_;
  std::vector<int32_t> stop_ids_;
  std::vector<LeaseToken> lease_tokens_;
  std::optional<TapeDecoder> tape_;
  std::string no_tape_;  // why there is none; empty: there is
  bool use_tape_ = true;
  bool use_graphs_ = true;
  std::string no_graphs_;  // why there are none; empty: there are
  int64_t n_host_rows_ = 0;
  cuda::LoopEnd lease_end_ = cuda::LoopEnd::running;
  void* stream_ = nullptr;
  std::function<void(size_t)> observer_;
};

}  // namespace arc
