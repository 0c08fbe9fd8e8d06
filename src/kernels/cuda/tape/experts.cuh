// The choice of a layer's experts, made by every SM for itself from the scores that a few SMs published.
#pragma once

#include "kernels/cuda/tape/block.cuh"

namespace arc::tape {

// Floats as numbers in the same order; none is 0 but a NaN.
__device__ __forceinline__ uint32_t ordered(float v) {
  const uint32_t bits = __float_as_uint(v + 0.0f);  // -0 equals 0
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
__device__ __forceinline__ float from_ordered(uint32_t key) {
  return __uint_as_float(key & 0x80000000u ? key & 0x7fffffffu : ~key);
}

// A lane holds the scores of neighbouring experts.
struct LaneScores {
  static constexpr uint32_t kMost = kMaxExperts / 32;
  uint32_t keys[kMost];  // 0: none, or taken
  uint32_t first, n_lane;

  __device__ __forceinline__ LaneScores(const uint64_t* scores, uint32_t n_experts, uint32_t tag, uint32_t lane)
      : n_lane((n_experts + 31) / 32) {
    first = lane * n_lane;
    await_word(scores + blockIdx.x % n_experts, tag, "scores");
    const Watchdog watchdog("scores");
    bool stale = true;
    while (__any_sync(kAllLanes, stale)) {
      uint64_t words[kMost];
#pragma unroll
      for (uint32_t i = 0; i < kMost; ++i)
        if (i < n_lane && first + i < n_experts) words[i] = load_word(scores + first + i);
      stale = false;
#pragma unroll
      for (uint32_t i = 0; i < kMost; ++i) {
        keys[i] = 0;
        if (i >= n_lane || first + i >= n_experts) continue;
        stale |= tag_of(words[i]) != tag;
        keys[i] = ordered(value_of(words[i]));
      }
      watchdog.check(tag);
    }
  }

  // Takes the best of all lanes, of equal ones the first. Its key; `id` changes in one lane only, and is true there.
  __device__ __forceinline__ bool take_best(uint32_t& key, uint32_t& id, uint32_t lane) {
    uint32_t own = 0;
#pragma unroll
    for (uint32_t i = 0; i < kMost; ++i) own = max(own, keys[i]);
    key = __reduce_max_sync(kAllLanes, own);
    if (lane != uint32_t(__ffs(int(__ballot_sync(kAllLanes, own == key)))) - 1) return false;
    uint32_t at = 0;
#pragma unroll
    for (uint32_t i = kMost; i-- > 0;)
      if (keys[i] == key) at = i;
#pragma unroll
    for (uint32_t i = 0; i < kMost; ++i)
      if (i == at) keys[i] = 0;
    id = first + at;
    return true;
  }
};

// Leaves the choice in shared memory: first the ids, for which the stream of weights waits, then the weights, which
// only this warp reads.
__device__ __forceinline__ void choose_experts(Shared& shared, const StageView& view, uint32_t lane) {
  const ExpertArgs& args = view.stage.experts;
  const BufferRef& scores = view.stage.reads[kScores];
  LaneScores left(at<const uint64_t>(scores.address), args.n_experts, tag_at(scores, shared.step), lane);
  uint32_t best = 0, own = 0;  // keys: of the first choice, of choice `lane`
  for (uint32_t j = 0; j < args.top_k; ++j) {
    uint32_t key, id;
    if (left.take_best(key, id, lane)) shared.choice.ids[j] = min(id, args.n_experts - 1);
    if (j == 0) best = key;
    if (j == lane) own = key;
  }
  warp_arrive(&shared.choice_made);
  const float largest = from_ordered(best);
  const float weight = lane < args.top_k ? expf(from_ordered(own) - largest) : 0.0f;
  float mass = weight;
  if (!args.over_chosen) {
#pragma unroll
    for (uint32_t i = 0; i < LaneScores::kMost; ++i)
      if (left.keys[i] != 0) mass += expf(from_ordered(left.keys[i]) - largest);
  }
  mass = warp_sum(mass);
  if (lane < args.top_k) shared.choice.weights[lane] = weight / mass * args.scale;
  __syncwarp();
}

}  // namespace arc::tape
