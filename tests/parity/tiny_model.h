// A model loaded into an executor for tests that drive it step by step, without engine or scheduler.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "exec/cpu_executor.h"
#include "exec/ref_executor.h"
#include "io/checkpoint.h"
#include "models/arch.h"
#include "plan/lower.h"

namespace arc::test {

// An executor as tests see it: what lies in its buffers can be looked at and changed after each stage.
class Inspected {
 public:
  virtual ~Inspected() = default;
  virtual Executor& executor() = 0;
  virtual void set_observer(std::function<void(size_t stage)> observer) = 0;
  // The first `rows` rows of a buffer; good until the next call.
  virtual TensorView read(BufferId id, int64_t rows) = 0;
  // The same as they are now, there when the step is done; good until forget().
  virtual TensorView read_later(BufferId id, int64_t rows);
  virtual void forget() { kept_.clear(); }
  virtual void write(BufferId id, const TensorView& rows) = 0;
  // Blocks [0, n_blocks) of the keys and values that a stage reads or writes; empty where they have another form.
  // See StageBounds.
  virtual bool attends_in_bytes() const { return false; }
  virtual std::vector<std::byte> kv_bytes(size_t /*stage*/, int64_t /*n_blocks*/) { return {}; }

 private:
  std::vector<Tensor> kept_;
};

// How to make an executor that is neither the reference nor the CPU's.
struct Backend {
  const KernelTable* kernels = nullptr;
  PackWeight pack;
  std::function<std::unique_ptr<Inspected>(Plan, LoadedWeights, const StepCapacity&)> make;
};

struct TinyOptions {
  int n_ranks = 1;              // tensor-parallel ranks in this process
  bool fused = false;           // layers in five stages where they allow it
  std::optional<cpu::Isa> isa;  // on the CPU executor instead of the reference
  int threads = 1;              // of the CPU executor
  DType cache = DType::f32;
  std::string cache_type = "auto";
  const Backend* backend = nullptr;  // on its executor instead of the reference
  int places = 1;                    // for sequences side by side: each has blocks, and a state
  int max_tokens = 256;              // of a sequence, and of a step
  bool observed = true;              // false: steps as an engine takes them, no hidden states
  bool prompts = false;              // run() computes tokens as those of a prompt
};

// A plan made by hand, for the kernels of an executor, and its weights.
struct HandMade {
  std::function<Plan(const KernelTable&)> plan;
  LoadedWeights weights;
};

class TinyModel {
 public:
  TinyModel(const std::string& config_json, const Checkpoint& checkpoint, const TinyOptions& options);
  TinyModel(const std::string& config_json, const Checkpoint& checkpoint, int n_ranks = 1, bool fused = false)
      : TinyModel(config_json, checkpoint, TinyOptions{.n_ranks = n_ranks, .fused = fused}) {}
  TinyModel(const ModelSpec& spec, const SlotResolver& slots, const Checkpoint& checkpoint, const TinyOptions& options);
  TinyModel(const HandMade& model, const TinyOptions& options);

  struct Outputs {
    std::vector<std::vector<double>> hidden;  // [L + 1][n * C]
    std::vector<double> logits;               // [n * V], or [n * C] of a model without a head
  };
  // Runs `tokens` as one sequence from an empty cache, in chunks of `chunk` tokens (0: all at once).
  Outputs run(std::span<const int32_t> tokens, int chunk = 0);

  // A part of a step: tokens of the sequence at `place`, of which the first is at `position`; `known` are the tokens
  // that the sequence has in all (at least those up to this piece's end). Pieces of prompts come last.
  struct Piece {
    std::span<const int32_t> tokens;
    int position = 0, place = 0, known = 0;
    bool prompt = false;
  };
  void clear_cache();
  // One step; outputs are appended, piece after piece.
  void step(std::span<const Piece> pieces, Outputs& outputs, std::span<const StepCopy> copies = {});
  // Copies of all that the sequence at place `from` has in the cache, for a step, a swap out or a swap in.
  std::vector<StepCopy> copies(int from, int to) const;

  // Called after each stage with the number of tokens of the step; the next stage sees what it changes in buffers.
  void set_observer(std::function<void(size_t stage, int n_tokens)> observer) { observer_ = std::move(observer); }
  Inspected& inspected() const { return *inspected_; }

  const Plan& plan() const { return plan_; }
  const LoadedWeights& weights() const { return weights_; }  // of the first rank
  const std::vector<std::string>& unused() const { return unused_; }

 private:
  void load(const ModelSpec& spec, const SlotResolver& slots, const Checkpoint& checkpoint, const TinyOptions& options);
  void make_executor(std::vector<RefExecutor::Rank> ranks, const TinyOptions& options);

  int places_ = 0, tiles_ = 0;  // tiles of a place
  bool observed_ = true, prompts_ = false;
  Plan plan_;
  std::vector<std::string> unused_;
  LoadedWeights weights_;
  std::unique_ptr<Inspected> inspected_;
  std::function<void(size_t, int)> observer_;
};

}  // namespace arc::test
