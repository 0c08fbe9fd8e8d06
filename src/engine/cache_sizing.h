// How many blocks each cache group gets, from the memory there is and the sequences that are to fit.
#pragma once

#include <cstdint>
#include <vector>

#include "exec/executor.h"
#include "kv/cache_geometry.h"

namespace arc {

struct CacheRequest {
  int64_t memory_bytes = 0;  // for the device's blocks, per rank
  int64_t swap_bytes = 0;
  int32_t max_seqs = 0;
  int32_t max_seq_len = 0;         // tokens of one sequence
  int32_t max_batched_tokens = 0;  // of one step
};

struct CachePlan {
  CacheGeometry geometry;
  CacheCapacity capacity;
  int64_t n_tokens = 0;     // positions that all sequences together can hold
  int32_t max_seq_len = 0;  // as asked, or what fits
  int64_t memory_bytes = 0, swap_bytes = 0;
};

// Throws Error(resource) that names the bytes needed when not even one tile fits.
CachePlan size_cache(const std::vector<CacheNeeds>& groups, const CacheRequest& request);

// The positions that all sequences together can hold; 0: not one tile fits.
int64_t tokens_within(const std::vector<CacheNeeds>& groups, const CacheRequest& request);

// A quarter of the memory that this machine can still give.
int64_t default_cache_bytes();

}  // namespace arc
