// Recorded arrivals, played again on an engine: what waits how long, and how much gets through.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "nlohmann/json_fwd.hpp"

#include "arc/engine.h"

namespace arc::bench {

struct TraceRequest {
  double at = 0;  // seconds since the slice began
  int32_t n_prompt = 0, n_answer = 0;
  std::vector<uint64_t> blocks;  // of 512 tokens: equal numbers are equal text. Empty: a prompt like no other
};

// The requests of a slice of a trace, by time: Mooncake's form (lines of JSON: timestamp in ms, input_length,
// output_length, hash_ids) or Azure's (CSV: TIMESTAMP, ContextTokens, GeneratedTokens). Throws Error.
std::vector<TraceRequest> read_trace(const std::filesystem::path& file, double begin_s, double seconds);

struct ReplayOptions {
  double rate = 1;          // requests per second, in the mean; the gaps between them keep their proportions
  double seconds = 30;      // in which requests are sent; as much time again, then what still runs is cancelled
  int32_t max_len = 32768;  // of a prompt and its answer: a longer prompt loses its end, and is counted
};

// Sends the requests as they come until the time is over. Of the whole: requests, those cut, finished and not; of the
// time in which they were sent: tokens per second, the share of prompts found in the prefix cache, the share of time
// that the engine's thread spent itself; in ms, time to the first token and from one token to the next: p50, p99.
nlohmann::ordered_json replay(Engine& engine, const std::vector<TraceRequest>& trace, const ReplayOptions& options);

struct HitOptions {
  int32_t context = 32768;
  int32_t n_running = 8;  // answers in the making meanwhile
  int rounds = 5;
};

// What a prompt costs that the prefix cache holds but for its last tile: its time to the first token, and the longest
// that a running answer waits for its next token meanwhile, both beside what such a step takes else.
nlohmann::ordered_json measure_hit(Engine& engine, const HitOptions& options);

}  // namespace arc::bench
