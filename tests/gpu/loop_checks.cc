// Decoding without the host: captured steps and loops on the device give the tokens of single steps, and the ring loses
// none.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cuda_runtime.h>
#include <random>
#include <thread>

#include "fmt/format.h"

#include "gpu/checks.h"
#include "gpu/decoder.h"

namespace arc::test {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

constexpr int kAnswerTokens = 40;

class LoopChecks {
 public:
  LoopChecks(const std::string& name, const Target& target)
      : golden_(read_golden(name)),
        folder_("arc_gpu_loop_" + name),
        decoder_(golden_, folder_.path(), target, kAnswerTokens) {}

  void run(Report& report) {
    for (const int n : {1, 3}) {
      std::vector<Sequence> expected;
      report.check(fmt::format("{} alone, step by step", n), [&] {
        expected = decoder_.prompts(n);
        decoder_.steps(expected, kAnswerTokens, false);
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
      same("as graphs", [&](auto& s) { decoder_.steps(s, kAnswerTokens, true); });
      same("in one lease", [&](auto& s) { decoder_.lease(s, kAnswerTokens); });
      same("in leases of 7, with steps between", [&](auto& s) {
        for (int done = 0; done < kAnswerTokens; done += 8) {
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
      return static_cast<int>(sequences[0].n_prompt + kAnswerTokens - sequences[0].tokens.size());
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
    decoder_.lease(got, kAnswerTokens, limits, stops);
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
  for (const std::string& name : golden_names()) {
    suites.push_back({"loop/" + name, [name](Report& report, const Target& target) {
                        if (target.backend == nullptr) return report.skip("loops", "no device");
                        LoopChecks(name, target).run(report);
                      }});
  }
}

}  // namespace arc::test
