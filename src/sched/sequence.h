// One answer in the making: its tokens, how far they are computed, and where its cache lies.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "kv/block_table.h"
#include "kv/cache_geometry.h"
#include "kv/prefix_index.h"

namespace arc {

using SeqId = uint64_t;

inline constexpr int32_t kEmbeddingToken = -1;  // stands where an embedding is injected
inline constexpr int32_t kMaxAnswers = 1024;    // of one request

struct TokenSegment {
  std::vector<int32_t> tokens;
};
// Embeddings that the model reads instead of tokens; equal hashes promise equal embeddings.
struct EmbeddingSegment {
  int32_t n_positions = 0;
  Hash128 hash{};
};
using PromptSegment = std::variant<TokenSegment, EmbeddingSegment>;

// What the scheduler must know of a request.
struct SequenceRequest {
  uint64_t request = 0;  // the caller's name for it
  std::vector<PromptSegment> prompt;
  int32_t max_new_tokens = 1;  // 0: the prompt is only computed (scores, embeddings)
  int32_t n = 1;               // answers that share the prompt
  uint64_t adapter_generation = 0;
  std::string cache_salt;   // requests with different salts never share cached prefixes
  bool all_rows = false;    // every position reaches the head, not only the last; rules out prefix hits
  int32_t rope_switch = 0;  // a sequence with more tokens is computed anew, as other content (longrope); 0: never
  bool whole = false;       // all of the prompt in one step, nothing of it shared; with max_new_tokens 0 and n 1 only
};

enum class SequenceStatus : uint8_t { waiting, running, swapped };

enum class SequenceEnd : uint8_t { stop, length, cancelled };

// What a plan has reserved for a sequence, and how to give it back.
struct Reservation {
  enum class Kind : uint8_t { none, compute, preempt_swap, preempt_recompute } kind = Kind::none;
  std::array<int32_t, kMaxCacheGroups> n_blocks_before{};  // table entries that abort() leaves
  std::array<int32_t, kMaxCacheGroups> replaced{};         // block whose table entry a copy took, or kNoBlock
  std::array<int32_t, kMaxCacheGroups> replaced_at{};      // index of that entry
};

// Made and changed by the Scheduler alone; others read it. Holds no pointer to anything on a device.
struct Sequence {
  SeqId id = 0;
  uint64_t request = 0;
  int32_t choice = 0;    // 0 to n - 1 of its request
  uint64_t arrival = 0;  // smaller came earlier; the choices of a request share it
  SequenceStatus status = SequenceStatus::waiting;

  std::vector<int32_t> tokens;   // prompt, then output
  std::vector<MediaSpan> media;  // positions of the prompt that hold embeddings
  std::vector<int32_t> scope;    // adapter, salt and `switched`, as prefix keys
  std::vector<int32_t> drafts;   // guesses at the next tokens, to be verified in the next step
  int32_t n_prompt = 0;
  int32_t n_computed = 0;  // positions whose cache entries are valid
  int32_t n_cached = 0;    // of the prompt, found in the prefix cache when it was first admitted
  int32_t n_rows = 0;      // all_rows: positions whose row the head has seen
  int32_t max_len = 0;     // tokens at which it ends
  bool all_rows = false;
  bool whole = false;
  int32_t rope_switch = 0;
  bool switched = false;  // has more tokens than that
  bool admitted = false;  // has run before

  std::vector<BlockTable> tables;       // per group, on the device
  std::vector<BlockTable> swap_tables;  // per group, while swapped
  std::vector<Hash128> chain;           // prefix hashes of the first tiles
  int32_t n_published = 0;              // tiles given to the prefix index

  int32_t n_unborn = 0;  // answers that start when all of the prompt but its last token is computed
  bool preempt_requested = false;
  Reservation reservation;

  int32_t n_tokens() const { return static_cast<int32_t>(tokens.size()); }
  int32_t n_output() const { return n_tokens() - n_prompt; }
  // Where prefill ends: the last token is left to each answer when the answers have yet to part.
  int32_t target() const { return n_unborn > 0 ? n_prompt - 1 : n_tokens(); }
  // One position from its next token.
  bool decoding() const { return n_unborn == 0 && n_computed == n_tokens() - 1; }
  PrefixContent content() const { return {tokens, media, scope}; }
};

}  // namespace arc
