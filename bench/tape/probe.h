// Finding where time goes: a probe launch can leave out waits, read all weights from a small window, and note when
// things happen. It is the same code compiled a second time; the ordinary kernel holds nothing of it.
#pragma once

#include <cstdint>

namespace arc::tape {

// Moments of a stage on one SM, in its clock cycles, and cycles spent waiting.
enum class Mark : uint32_t {
  consumer_begin,  // consumer warp 0 comes to the stage
  first_vector,    // its first slice (or the queries) is there
  consumer_end,
  vector_wait,  // cycles that consumer warp 0 waited for slices
  tile_wait,    // and for tiles
  epilogue_begin,
  scale_ready,
  sums_ready,  // of the last pass
  published,
  gathered,     // the first slot is filled
  parts_begin,  // gather warp 0 starts its merge
  parts_fresh,  // the first word of every part is there
  merged,
  end_ns,  // consumer_end on the clock that all SMs share
  sm_id,
  count,
};
constexpr uint32_t kMarks = uint32_t(Mark::count);

// Bits of TapeStage::skip_waits.
enum : uint8_t { kSkipVector = 1, kSkipParts = 2, kSkipSquares = 4, kSkipAll = 7, kSkipLoads = 8, kSkipMath = 16 };

struct ProbeArgs {
  uint64_t weight_mask = ~0ull;  // of the offset into a matrix
  uint64_t* trace = nullptr;     // [SM][stage][mark], of the last step
};

}  // namespace arc::tape
