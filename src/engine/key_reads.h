// How much of what attention reads is compressed: the check that a compressed cache is one.
#pragma once

#include <cstdint>
#include <vector>

#include "plan/plan.h"

namespace arc {

// Pairs of a query's token and a key's that it sees, in all layers.
struct KeyReads {
  int64_t all = 0;
  int64_t coded = 0;  // those whose key the cache holds as a code
};

// Of queries at positions [begin, end) of a sequence.
KeyReads key_reads(const std::vector<CacheNeeds>& groups, int32_t begin, int32_t end);

}  // namespace arc
