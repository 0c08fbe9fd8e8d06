// Decoding without the host: captured steps and loops on the device give the tokens of single steps, and the ring loses
// none.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cuda_runtime.h>
#include <random>
#include <thread>

#include "fmt/format.h"

#include "exec/cuda/cuda_executor.h"
#include "gpu/checks.h"
#include "io/safetensors.h"
#include "parity/golden.h"

namespace arc::test {
namespace {

using Tokens = std::vector<int32_t>;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

struct Sequence {
  int place = 0;
  size_t n_prompt = 0;
  Tokens tokens;
  SamplingRow sampling;
};

// Decodes sequences of a tiny model, step by step or in leases.
class Decoder {
 public:
  static constexpr int kTokens = 40;  // of each answer

  Decoder(const Golden& golden, const std::filesystem::path& folder, const Target& target)
      : golden_(golden),
        tiny_(golden.config_json, checkpoint(golden, folder),
              {.cache = DType::bf16, .backend = target.backend, .places = 4}),
        executor_(dynamic_cast<CudaExecutor&>(tiny_.inspected().executor())) {}

  // Sequences of `n` of the golden's prompts, whose first tokens are in the cache.
  std::vector<Sequence> prompts(int n) {
    tiny_.clear_cache();
    Tokens reversed(golden_.tokens.rbegin(), golden_.tokens.rend());
    const Tokens half(golden_.tokens.begin() + static_cast<ptrdiff_t>(golden_.tokens.size() / 2), golden_.tokens.end());
    const Tokens all[] = {golden_.tokens, reversed, half};
    std::vector<Sequence> out;
    for (int i = 0; i < n; ++i) {
      Sequence s{.place = i, .tokens = all[i]};
      const size_t room = static_cast<size_t>(256 - kTokens - 8);
      if (s.tokens.size() > room) s.tokens.resize(room);
      s.n_prompt = s.tokens.size();
      s.sampling = {
          .temperature = 0.8f, .top_p = 0.95f, .n_logprobs = 0, .seed = 77, .sequence = static_cast<uint32_t>(i)};
      if (i == 1) s.sampling = {.temperature = 0.0f};
      if (i == 2) {
        s.sampling.repetition_penalty = 1.2f;
        s.sampling.frequency_penalty = 0.3f;
        s.sampling.counts_row = i;
        s.sampling.top_k = 30;
      }
      const TinyModel::Piece piece{.tokens = std::span(s.tokens).first(s.n_prompt - 1), .place = i};
      TinyModel::Outputs outputs;
      if (!piece.tokens.empty()) tiny_.step({&piece, 1}, outputs);
      out.push_back(std::move(s));
    }
    tiny_.inspected().set_observer({});
    return out;
  }

  // Until each sequence has `n` more tokens. Single steps, as graphs or a launch per stage.
  void steps(std::vector<Sequence>& sequences, int n, bool graphs) {
    executor_.set_graphs(graphs);
    std::vector<RowResult> results(sequences.size());
    for (int i = 0; i < n; ++i) {
      if (executor_.run(fill(sequences), results) != RunOutcome::ok) throw std::runtime_error("the device failed");
      for (size_t r = 0; r < sequences.size(); ++r) {
        if (results[r].outcome != SampleOutcome::ok) throw std::runtime_error("a row was not drawn");
        sequences[r].tokens.push_back(results[r].token);
      }
    }
    executor_.set_graphs(false);
  }

  // One lease. `limits` [S] may be empty; `on_token` is called after each token.
  void lease(std::vector<Sequence>& sequences, int n, const Tokens& limits = {}, const Tokens& stop_ids = {},
             std::atomic<int32_t>* attention = nullptr, const std::function<void()>& on_token = {}) {
    StepInputs inputs = fill(sequences);
    LoopControl control{.lease = n, .attention = attention};
    if (!limits.empty()) control.tokens_left = limits.data();
    control.stop_ids = stop_ids.data();
    control.n_stop_ids = static_cast<int32_t>(stop_ids.size() / sequences.size());
    inputs.control = &control;
    if (!executor_.can_lease(inputs)) throw std::runtime_error("no lease: " + executor_.describe());
    std::string broken;
    const RunOutcome outcome = executor_.run_lease(inputs, [&](std::span<const LeaseToken> tokens) {
      for (const LeaseToken& t : tokens) {
        if (t.outcome != SampleOutcome::ok) broken = "a row was not drawn";
        sequences[static_cast<size_t>(t.row)].tokens.push_back(t.token);
        if (on_token) on_token();
      }
    });
    if (outcome != RunOutcome::ok) throw std::runtime_error("the device failed: " + executor_.describe());
    if (!broken.empty()) throw std::runtime_error(broken);
  }

  CudaExecutor& executor() { return executor_; }

 private:
  static Checkpoint checkpoint(const Golden& golden, const std::filesystem::path& folder) {
    write_checkpoint(golden, DType::bf16, folder / "model.safetensors");
    return open_safetensors(folder / "model.safetensors");
  }

  // As TinyModel places sequences.
  const StepInputs& fill(const std::vector<Sequence>& sequences) {
    constexpr int kTiles = 4;
    const auto n = static_cast<int32_t>(sequences.size());
    const auto vocab = static_cast<size_t>(tiny_.plan().vocab);
    for (auto* list : {&tokens_, &positions_, &seq_lens_, &known_lens_, &rows_, &table_, &state_}) list->clear();
    q_start_.assign(1, 0);
    slots_.clear();
    sampling_.clear();
    counts_.assign(sequences.size() * vocab, 0);
    for (const Sequence& s : sequences) {
      const auto position = static_cast<int32_t>(s.tokens.size()) - 1;
      tokens_.push_back(s.tokens.back());
      positions_.push_back(position);
      seq_lens_.push_back(position + 1);
      known_lens_.push_back(static_cast<int32_t>(s.n_prompt) + kTokens);  // a lease never crosses a rope's switch
      rows_.push_back(static_cast<int32_t>(rows_.size()));
      q_start_.push_back(static_cast<int32_t>(rows_.size()));
      for (int i = 0; i < kTiles; ++i) table_.push_back(1 + s.place * kTiles + i);
      slots_.push_back(int64_t{1 + s.place * kTiles} * kTileTokens + position);
      state_.push_back(1 + s.place);
      SamplingRow& row = sampling_.emplace_back(s.sampling);
      row.position = static_cast<uint32_t>(position + 1);
      if (row.counts_row < 0) continue;
      row.counts_row = static_cast<int32_t>(sampling_.size()) - 1;
      uint32_t* counts = counts_.data() + (sampling_.size() - 1) * vocab;
      for (size_t i = 0; i < s.tokens.size(); ++i) {
        uint32_t& count = counts[s.tokens[i]];
        count = i < s.n_prompt ? count | kInPrompt : count + 1;
      }
    }
    inputs_ = {.n_seqs = n,
               .n_tokens = n,
               .n_rows = n,
               .tokens = tokens_.data(),
               .positions = positions_.data(),
               .q_start = q_start_.data(),
               .seq_lens = seq_lens_.data(),
               .known_lens = known_lens_.data()};
    for (GroupInputs& group : inputs_.groups) {
      group = {.block_table = table_.data(), .table_stride = kTiles, .slots = slots_.data()};
      group.state_read = group.state_write = state_.data();
    }
    inputs_.rows = rows_.data();
    inputs_.sampling = sampling_.data();
    inputs_.tables.counts = counts_.data();
    return inputs_;
  }

  const Golden& golden_;
  TinyModel tiny_;
  CudaExecutor& executor_;
  Tokens tokens_, positions_, seq_lens_, known_lens_, rows_, table_, state_, q_start_;
  std::vector<int64_t> slots_;
  std::vector<SamplingRow> sampling_;
  std::vector<uint32_t> counts_;
  StepInputs inputs_;
};

// Where answers part from the expected ones; empty: nowhere. `whole`: they must be as long, too.
std::string difference(const std::vector<Sequence>& got, const std::vector<Sequence>& expected, bool whole = true) {
  for (size_t i = 0; i < got.size(); ++i) {
    const Tokens &g = got[i].tokens, &e = expected[i].tokens;
    const auto at = std::ranges::mismatch(g, e);
    if (at.in1 == g.end() && (!whole || at.in2 == e.end())) continue;
    const auto n = static_cast<size_t>(at.in1 - g.begin());
    return fmt::format("sequence {}: {} tokens instead of {}, other from answer token {} on ({} instead of {})", i,
                       g.size() - got[i].n_prompt, e.size() - expected[i].n_prompt,
                       static_cast<int64_t>(n) - static_cast<int64_t>(got[i].n_prompt), n < g.size() ? g[n] : -1,
                       n < e.size() ? e[n] : -1);
  }
  return {};
}

class LoopChecks {
 public:
  LoopChecks(const std::string& name, const Target& target)
      : golden_(read_golden(name)), folder_("arc_gpu_loop_" + name), decoder_(golden_, folder_.path(), target) {}

  void run(Report& report) {
    for (const int n : {1, 3}) {
      std::vector<Sequence> expected;
      report.check(fmt::format("{} alone, step by step", n), [&] {
        expected = decoder_.prompts(n);
        decoder_.steps(expected, Decoder::kTokens, false);
        return Finding{};
      });
      if (expected.empty() || expected[0].tokens.size() == expected[0].n_prompt) return;
      const auto same = [&](const std::string& what, const std::function<void(std::vector<Sequence>&)>& decode) {
        report.check(fmt::format("{} {}", n, what), [&] {
          std::vector<Sequence> got = decoder_.prompts(n);
          decode(got);
          Finding finding;
          if (const std::string parts = difference(got, expected); !parts.empty()) finding.fail(parts);
          return finding;
        });
      };
      same("as graphs", [&](auto& s) { decoder_.steps(s, Decoder::kTokens, true); });
      same("in one lease", [&](auto& s) { decoder_.lease(s, Decoder::kTokens); });
      same("in leases of 7, with steps between", [&](auto& s) {
        for (int done = 0; done < Decoder::kTokens; done += 8) {
          decoder_.lease(s, 7);
          decoder_.steps(s, 1, done % 16 == 0);
        }
      });
      same("in leases cut off by attention", [&](auto& s) { cut_off(s); });
      report.check(fmt::format("{} with limits and stop ids", n), [&] { return limits_and_stops(n, expected); });
    }
  }

 private:
  // The word is set after every third token of a lease; all answers must still come whole.
  void cut_off(std::vector<Sequence>& sequences) {
    const auto left = [&] {
      return static_cast<int>(sequences[0].n_prompt + Decoder::kTokens - sequences[0].tokens.size());
    };
    while (left() > 0) {
      std::atomic<int32_t> attention = 0;
      int n = 0;
      decoder_.lease(sequences, left(), {}, {}, &attention, [&] { attention = ++n >= 3 ? 1 : 0; });
    }
  }

  // Row i may make 5 + 11 i tokens; the token after the 12th of sequence 0's answer is a stop id of all.
  Finding limits_and_stops(int n, const std::vector<Sequence>& expected) {
    std::vector<Sequence> got = decoder_.prompts(n);
    Tokens limits, stops;
    const int32_t stop =
        expected[static_cast<size_t>(n) - 1].tokens[expected[static_cast<size_t>(n) - 1].n_prompt + 12];
    std::vector<Sequence> wanted = expected;
    for (int i = 0; i < n; ++i) {
      limits.push_back(n == 1 ? 30 : 5 + 11 * i);
      stops.insert(stops.end(), {-1, stop});
      Sequence& w = wanted[static_cast<size_t>(i)];
      const auto answer = w.tokens.begin() + static_cast<ptrdiff_t>(w.n_prompt);
      const auto found = std::find(answer, w.tokens.end(), stop);
      const auto at_stop = found - answer + 1;
      w.tokens.resize(w.n_prompt + static_cast<size_t>(std::min<ptrdiff_t>(at_stop, limits.back())));
    }
    decoder_.lease(got, Decoder::kTokens, limits, stops);
    Finding finding;
    if (const std::string parts = difference(got, wanted); !parts.empty()) finding.fail(parts);
    if (decoder_.executor().lease_end() != cuda::LoopEnd::all_idle)
      finding.fail("the loop did not end with its last row");
    return finding;
  }

  Golden golden_;
  TemporaryFolder folder_;
  Decoder decoder_;
};

// ---- the ring alone ------------------------------------------------------------------------------------------------

// A loop that counts; what the reader sees must be the whole numbers in order.
class Counter {
 public:
  Counter(int rows, int64_t ring, int64_t patience_ms)
      : rows_(rows), device_{.kind = Device::Kind::cuda}, loop_(rows, ring, device_) {
    const auto n = static_cast<size_t>(rows);
    memory_ = Tensor::zeros({static_cast<int64_t>(n), 256}, DType::u8, device_);
    std::byte* at = memory_.data();
    const auto take = [&]<typename T>(T*& p) {
      p = reinterpret_cast<T*>(at);
      at += n * sizeof(T);
    };
    cuda::AdvanceCall call{.n_rows = rows};
    take(call.sampling);
    cuda::DrawnRow* drawn = nullptr;
    take(drawn);
    call.drawn = drawn;
    take(call.tokens);
    take(call.positions);
    take(call.seq_lens);
    const std::vector<SamplingRow> sampling(n);
    copy_bytes(reinterpret_cast<std::byte*>(call.sampling), device_,
               reinterpret_cast<const std::byte*>(sampling.data()), {}, n * sizeof(SamplingRow));
    loop_.set_patience_ms(patience_ms);
    cudaStream_t stream = nullptr;
    if (cudaStreamCreate(&stream) != cudaSuccess) throw std::runtime_error("no stream");
    stream_ = stream;
    graph_ =
        loop_.capture(call, stream_, [&](const cuda::AdvanceCall& whole) { cuda::count_up(whole, stream_); }, why_);
    if (!graph_) throw std::runtime_error(why_);
  }

  ~Counter() { cudaStreamDestroy(static_cast<cudaStream_t>(stream_)); }

  TokenLoop::End run(int64_t steps, const std::function<void(const cuda::RingEntry&)>& sink) {
    const std::vector<cuda::LoopRow> rows(static_cast<size_t>(rows_), {.live = 1, .tokens_left = 1 << 30});
    return loop_.run(graph_, stream_, {.lease = static_cast<int32_t>(steps), .rows = rows}, nullptr,
                     [&](std::span<const cuda::RingEntry> entries) { std::ranges::for_each(entries, sink); });
  }

 private:
  int rows_;
  Device device_;
  TokenLoop loop_;
  Tensor memory_;
  void* stream_ = nullptr;
  DeviceGraph graph_;
  std::string why_;
};

// `stall_one_in`: of the tokens, one in so many makes the reader sleep; 0: none does.
Finding count(int rows, int64_t n_tokens, int64_t ring, unsigned stall_one_in) {
  Counter counter(rows, ring, 10'000);
  std::mt19937 random(9);
  int64_t next = 0, wrong = 0, stalls = 0;
  const int64_t steps = n_tokens / rows;
  const auto start = Clock::now();
  const TokenLoop::End end = counter.run(steps, [&](const cuda::RingEntry& e) {
    wrong += e.token != static_cast<int32_t>(next) || e.row != next % rows;
    ++next;
    if (stall_one_in > 0 && random() % stall_one_in == 0) {
      ++stalls;
      std::this_thread::sleep_for(std::chrono::microseconds(200 + random() % 2000));
    }
  });
  const double us = 1e6 * seconds_since(start) / static_cast<double>(steps);
  Finding finding;
  finding.details.push_back(fmt::format("{} of {} tokens, {} out of order; {} stalls; {:.2f} us a step; end {}", next,
                                        steps * rows, wrong, stalls, us, static_cast<int>(end.why)));
  finding.ok = next == steps * rows && wrong == 0 && end.outcome == RunOutcome::ok && end.why == cuda::LoopEnd::lease;
  return finding;
}

// The device gives up on a reader; nothing is lost, and the next loop goes on behind it.
Finding impatient() {
  Counter counter(4, 64, 5);
  Finding finding;
  int64_t seen = 0;
  for (int round = 0; round < 3; ++round) {
    int64_t next = 0, wrong = 0;
    const TokenLoop::End end = counter.run(1000, [&](const cuda::RingEntry& e) {
      wrong += e.token != next++;
      if (next == 10) std::this_thread::sleep_for(std::chrono::milliseconds(60));
    });
    const bool ok = wrong == 0 && next % 4 == 0 && next >= 64 && end.why == cuda::LoopEnd::slow_reader;
    if (!ok)
      finding.fail(fmt::format("round {}: {} tokens, {} wrong, end {}", round, next, wrong, static_cast<int>(end.why)));
    seen += next;
  }
  finding.details.push_back(fmt::format("{} tokens in three loops", seen));
  return finding;
}

void ring(Report& report, const Target& target) {
  if (target.backend == nullptr) return report.skip("the ring", "no device");
  report.check("control of the loop, 1 row", [] { return count(1, 300'000, 1 << 12, 0); });
  report.check("control of the loop, 64 rows", [] { return count(64, 64 * 100'000, 1 << 14, 0); });
  report.check("10 million tokens, a reader that stalls", [] { return count(64, 10'000'000, 1 << 12, 20'000); });
  report.check("a reader that is too slow", impatient);
}

}  // namespace

void add_loop_suites(std::vector<Suite>& suites) {
  suites.push_back({"loop/ring", ring});
  for (const std::string& name : generating_names()) {
    suites.push_back({"loop/" + name, [name](Report& report, const Target& target) {
                        if (target.backend == nullptr) return report.skip("loops", "no device");
                        LoopChecks(name, target).run(report);
                      }});
  }
}

}  // namespace arc::test
