// A plan's decode step of one sequence as a tape (kernels/cuda/tape): its stages in fives, row groups dealt to SMs,
// versions of buffers numbered. Host only.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/cuda/tape/tape.h"
#include "plan/plan.h"

namespace arc {

// Where things are on the device.
struct TapePlaces {
  uint64_t buffers = 0;           // Tape::buffer_bytes, zero before the first step
  uint64_t maps = 0;              // tensor maps of Tape::matrices, tape::kMapBytes each
  std::vector<uint64_t> weights;  // by WeightId
  std::vector<uint64_t> biases;   // likewise
  uint64_t logits = 0;            // f32 [V]
  struct Group {
    uint64_t cache = 0;  // block 0 of the first layer
    uint64_t layer_bytes = 0;
  };
  std::vector<Group> groups;  // of the cache
};

// A matrix whose tiles the tape's kernel loads, or a stack of experts: [count, parts * rows, n_in].
struct TapeMatrix {
  WeightId weight = kNone;
  uint32_t count = 1, parts = 1, rows = 0, n_in = 0;
  uint32_t columns = 0;  // of a tile
};

struct Tape {
  int32_t rows_group = 0;             // group of the cache whose rows the stages append to
  std::vector<int32_t> codec_groups;  // groups of packed tiles: AttendArgs::codec is a place in it
  std::vector<tape::TapeStage> stages;
  std::vector<tape::DealShare> deals;  // [deal][SM]
  std::vector<TapeMatrix> matrices;
  uint32_t n_sms = 0;
  uint64_t buffer_bytes = 0;
};

// For a device of `n_sms` SMs, of which a narrow model takes fewer. Throws Error(unsupported) that says what has no
// device function. What is laid out does not depend on `places`: a first tape can say how large they must be.
Tape lower_tape(const Plan& plan, uint32_t n_sms, const TapePlaces& places);

}  // namespace arc
