#include "sched/policy.h"

#include <algorithm>

namespace arc {

int32_t chunk_tokens(int32_t first_position, int32_t n_left, int32_t n_allowed, int32_t checkpoint_tokens) {
  const int32_t n = std::max(0, std::min(n_left, n_allowed));
  if (checkpoint_tokens == 0) return n;
  const int32_t checkpoint = (first_position + n) / checkpoint_tokens * checkpoint_tokens;
  return checkpoint > first_position ? checkpoint - first_position : n;
}

int32_t draft_tokens(int32_t position, int32_t n_drafts, int32_t n_new_allowed, int32_t tile_tokens) {
  const int32_t next = position + 1;
  const int32_t room = tile_tokens - 1 - next % tile_tokens;
  return std::max(0, std::min({n_drafts, n_new_allowed - 1, room}));
}

int32_t lease_tokens(int32_t position, int32_t n_lease, int32_t n_new_allowed, int32_t checkpoint_tokens) {
  int32_t n = std::min(n_lease, n_new_allowed);
  if (checkpoint_tokens > 0) n = std::min(n, checkpoint_tokens - position % checkpoint_tokens);
  return std::max(1, n);
}

int32_t admission_headroom(int32_t n_running) {
  return n_running;
}

}  // namespace arc
