// What every executor of a plan offers to the engine: memory for the cache, block copies, and steps.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/api/step_inputs.h"
#include "plan/plan.h"
#include "sample/sampler.h"

namespace arc {

// What the head gave for one row of the step.
struct RowResult {
  SampleOutcome outcome = SampleOutcome::ok;
  int32_t token = -1;           // drawn, or the one that StepInputs::row_token names
  float logprob = 0.0f;         // of `token`, when the row asks for logprobs
  std::vector<RawLogprob> top;  // capacity is reserved; filled when the row asks
};

// Blocks of each cache group; see CacheNeeds.
struct CacheCapacity {
  std::array<int32_t, kMaxCacheGroups> blocks{};
  std::array<int32_t, kMaxCacheGroups> swap_blocks{};
};

// The largest step that will be asked for.
struct StepCapacity {
  int32_t tokens = 0, rows = 0;
  int32_t seqs = 0, positions = 0;  // sequences, and the longest one; 0: as many as tokens, and as the plan allows
};

// A token of a lease.
struct LeaseToken {
  int32_t row = 0, token = -1;
  float logprob = 0.0f;
  SampleOutcome outcome = SampleOutcome::ok;
  bool last = false;  // the row has stopped
};
using LeaseSink = std::function<void(std::span<const LeaseToken>)>;

enum class RunOutcome : uint8_t {
  ok,
  device_fault,  // nothing more will run
};

// One thread at a time. Steps allocate nothing and throw nothing.
class Executor {
 public:
  virtual ~Executor() = default;

  // Throws Error(resource) when the memory is not there. Called once, before the first step.
  virtual void allocate_cache(const CacheCapacity& capacity) = 0;

  // Each copy moves one block (or state) of a group.
  virtual void swap_out(std::span<const StepCopy> copies) noexcept = 0;
  virtual void swap_in(std::span<const StepCopy> copies) noexcept = 0;

  // Carries out inputs.copies, then the stages; `results` [R].
  virtual RunOutcome run(const StepInputs& inputs, std::span<RowResult> results) noexcept = 0;

  // Steps that a lease should have; 1: there are no leases here.
  virtual int32_t max_lease() const noexcept { return 1; }
  // Whether run_lease() can carry out these inputs, which decode one token per sequence. May prepare for that.
  virtual bool can_lease(const StepInputs&) noexcept { return false; }
  // Steps without the host, as inputs.control says. Tokens go to `sink` as they come, step by step, rows ascending; it
  // must not throw. Returns when no row lives, the lease is over, or within a step of a non-zero attention word.
  virtual RunOutcome run_lease(const StepInputs&, const LeaseSink&) noexcept { return RunOutcome::device_fault; }

  // What runs where, one line.
  virtual std::string describe() const = 0;
};

}  // namespace arc
