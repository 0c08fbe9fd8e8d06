// Sequences of a tiny model that are decoded on the device, step by step or in leases.
#pragma once

#include <atomic>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "exec/cuda/cuda_executor.h"
#include "gpu/checks.h"
#include "parity/golden.h"
#include "parity/tiny_model.h"

namespace arc::test {

using Tokens = std::vector<int32_t>;

struct Sequence {
  int place = 0;
  size_t n_prompt = 0;
  Tokens tokens;
  SamplingRow sampling;
};

class Decoder {
 public:
  // Answers have `answer_tokens`; with their prompts they have up to `max_tokens`, whole tiles. The checkpoint is
  // written into `folder`.
  Decoder(const Golden& golden, const std::filesystem::path& folder, const Target& target, int answer_tokens,
          int max_tokens = 256);

  // Sequences of `n` of the golden's prompts, up to three, whose tokens but the last are in the cache. One is greedy,
  // the others are sampled.
  std::vector<Sequence> prompts(int n);

  // Until each sequence has `n` more tokens. Single steps, as graphs or a launch per stage. Throws when one fails.
  void steps(std::vector<Sequence>& sequences, int n, bool graphs);

  // One lease. `limits` [S] may be empty; `on_token` is called after each token. Throws when it fails.
  void lease(std::vector<Sequence>& sequences, int n, const Tokens& limits = {}, const Tokens& stop_ids = {},
             std::atomic<int32_t>* attention = nullptr, const std::function<void()>& on_token = {});

  CudaExecutor& executor() { return executor_; }

 private:
  const StepInputs& fill(const std::vector<Sequence>& sequences);

  const Golden& golden_;
  int answer_tokens_ = 0, max_tokens_ = 0;
  TinyModel tiny_;
  CudaExecutor& executor_;
  Tokens tokens_, positions_, seq_lens_, known_lens_, rows_, table_, state_, q_start_;
  std::vector<int64_t> slots_;
  std::vector<SamplingRow> sampling_;
  std::vector<uint32_t> counts_;
  StepInputs inputs_;
};

// Where answers part from the expected ones; empty: nowhere.
std::string difference(const std::vector<Sequence>& got, const std::vector<Sequence>& expected);

}  // namespace arc::test
