// The choices of the scheduler that are matters of taste, each a small pure function.
#pragma once

#include <cstdint>

namespace arc {

// Tokens of the next prefill chunk: as many as are left and allowed. A chunk that passes a state checkpoint ends at the
// last one it reaches, so that the state there can be kept. `checkpoint_tokens` is 0 without state groups.
int32_t chunk_tokens(int32_t first_position, int32_t n_left, int32_t n_allowed, int32_t checkpoint_tokens);

// Drafts that may be verified after the token at `position`. No draft may fill a tile (a tile is sealed by the step
// that fills it, and never changes), and no answer may grow past its length.
int32_t draft_tokens(int32_t position, int32_t n_drafts, int32_t n_new_allowed, int32_t tile_tokens);

// Steps that a decoding sequence at `position` may run ahead: not past its length or the next state checkpoint.
int32_t lease_tokens(int32_t position, int32_t n_lease, int32_t n_new_allowed, int32_t checkpoint_tokens);

// Blocks per group to leave free when a sequence is admitted beside others, so that they need not be preempted at once.
int32_t admission_headroom(int32_t n_running);

}  // namespace arc
