// The persistent kernel that walks a tape, as its callers see it.
#pragma once

#include <cstdint>
#include <cuda_runtime.h>

#include "probe.h"
#include "tape.h"

namespace arc::tape {

// A step has at least as many stages as a block holds records of, so that no role can lag a whole step behind.
constexpr uint32_t kMinStages = 8;

struct LaunchArgs {
  const TapeStage* stages = nullptr;  // device, [n_stages]
  const DealShare* deals = nullptr;   // device, [deal][n_sms]
  uint32_t n_stages = 0, n_attends = 0;
  uint32_t n_steps = 0;  // the lease: tokens to draw unless stopped
  uint32_t vocab = 0;
  StepState* state = nullptr;               // device
  const volatile int* attention = nullptr;  // host-mapped; non-zero ends the loop after the step that sees it
  volatile int32_t* tokens = nullptr;       // host-mapped ring; step s writes entry s mod n_ring
  uint32_t n_ring = 0;
  ProbeArgs probe{};
};

// Starts one launch over n_sms blocks, all resident. Only a probe launch looks at args.probe and at skip_waits.
cudaError_t launch_tape(const LaunchArgs& args, uint32_t n_sms, bool probe, cudaStream_t stream);

}  // namespace arc::tape
