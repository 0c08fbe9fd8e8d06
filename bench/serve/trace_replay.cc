#include "serve/trace_replay.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <ctime>
#include <fstream>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "fmt/format.h"
#include "nlohmann/json.hpp"

#include "base/error.h"

namespace arc::bench {
namespace {

using Clock = std::chrono::steady_clock;
using Json = nlohmann::ordered_json;

constexpr int32_t kBlockTokens = 512;

double seconds_between(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

// SplitMix64 (Steele, Lea, Flood 2014).
uint64_t mix(uint64_t z) {
  z += 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

std::vector<int32_t> prompt_of(const TraceRequest& request, size_t index, int32_t n_tokens, int32_t vocab) {
  std::vector<int32_t> tokens;
  for (int32_t i = 0; i < n_tokens; ++i) {
    const auto block = static_cast<size_t>(i / kBlockTokens);
    const uint64_t seed = block < request.blocks.size() ? request.blocks[block] : ~(uint64_t{index} << 20 | block);
    tokens.push_back(static_cast<int32_t>(mix(mix(seed) + i % kBlockTokens) % static_cast<uint64_t>(vocab)));
  }
  return tokens;
}

// "2023-11-16 18:15:46.6805900" as seconds of its day and the days before.
double azure_seconds(const std::string& text) {
  std::tm time{};
  const char* rest = strptime(text.c_str(), "%Y-%m-%d %H:%M:%S", &time);
  if (rest == nullptr) throw Error(ErrorCode::invalid_argument, "not a time of the trace: " + text);
  return static_cast<double>(timegm(&time)) + (*rest == '.' ? std::stod(rest) : 0.0);
}

TraceRequest azure_request(const std::string& line) {
  const size_t first = line.find(','), second = line.find(',', first + 1);
  if (second == std::string::npos) throw Error(ErrorCode::invalid_argument, "not a line of the trace: " + line);
  return {.at = azure_seconds(line.substr(0, first)),
          .n_prompt = std::stoi(line.substr(first + 1)),
          .n_answer = std::stoi(line.substr(second + 1))};
}

TraceRequest mooncake_request(const std::string& line) {
  const Json json = Json::parse(line);
  return {.at = 1e-3 * json.at("timestamp").get<double>(),
          .n_prompt = json.at("input_length"),
          .n_answer = json.at("output_length"),
          .blocks = json.at("hash_ids")};
}

double quantile(std::vector<double>& values, double share) {
  if (values.empty()) return 0;
  std::ranges::sort(values);
  return values[static_cast<size_t>(share * static_cast<double>(values.size() - 1))];
}

Json spread_ms(std::vector<double> seconds) {
  return {{"p50", 1e3 * quantile(seconds, 0.5)}, {"p99", 1e3 * quantile(seconds, 0.99)}, {"n", seconds.size()}};
}

// Requests on their way, and what has been seen of them. Alive until the last one has ended.
class Flight {
 public:
  explicit Flight(Engine& engine) : engine_(engine) {}
  ~Flight() { stop(); }

  RequestId send(std::vector<int32_t> prompt, int32_t n_answer) {
    const auto sent = Clock::now();
    const std::lock_guard lock(sending_);
    const auto answer = std::make_shared<Clock::time_point>();  // when its last token was made
    {
      const std::lock_guard open(mutex_);
      ++n_open_;
    }
    const RequestId id = engine_.submit({.prompt = TokenPrompt{std::move(prompt)},
                                         .sampling = {.temperature = 0, .max_tokens = n_answer, .ignore_eos = true}},
                                        [this, sent, answer](const Event& event) { take(event, sent, *answer); });
    ids_.push_back(id);
    return id;
  }
  bool wait_until(Clock::time_point end) {
    std::unique_lock lock(mutex_);
    return changed_.wait_until(lock, end, [this] { return n_open_ == 0; });
  }
  void wait_for_tokens(int64_t n) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return n_tokens_ >= n; });
  }
  void stop() {
    for (const RequestId id : ids_) engine_.cancel(id);
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return n_open_ == 0; });
  }

  struct Seen {
    std::vector<double> first_s, gaps_s;
    int64_t n_finished = 0, n_failed = 0;
  };
  Seen seen() {
    const std::lock_guard lock(mutex_);
    return seen_;
  }
  void forget_gaps() {
    const std::lock_guard lock(mutex_);
    seen_.gaps_s.clear();
  }

 private:
  void take(const Event& event, Clock::time_point sent, Clock::time_point& last) {
    const std::lock_guard lock(mutex_);
    if (!event.tokens.empty()) {
      if (last == Clock::time_point{}) {
        seen_.first_s.push_back(seconds_between(sent, event.made));
      } else {
        seen_.gaps_s.push_back(seconds_between(last, event.made));
      }
      last = event.made;
      ++n_tokens_;
    }
    if (event.finish) {
      --n_open_;
      seen_.n_finished += event.finish == FinishReason::length;
      seen_.n_failed += event.finish == FinishReason::error;
    }
    changed_.notify_all();
  }

  Engine& engine_;
  std::mutex sending_, mutex_;
  std::condition_variable changed_;
  std::vector<RequestId> ids_;
  int64_t n_open_ = 0, n_tokens_ = 0;
  Seen seen_;
};

}  // namespace

std::vector<TraceRequest> read_trace(const std::filesystem::path& file, double begin_s, double seconds) {
  std::ifstream in(file);
  if (!in) throw Error(ErrorCode::io, fmt::format("cannot read {}", file.string()));
  const bool azure = file.extension() == ".csv";
  std::vector<TraceRequest> all, slice;
  for (std::string line; std::getline(in, line);) {
    if (line.empty() || line.starts_with("TIMESTAMP")) continue;
    all.push_back(azure ? azure_request(line) : mooncake_request(line));
  }
  std::ranges::sort(all, {}, &TraceRequest::at);
  const double begin = all.empty() ? 0 : all.front().at + begin_s;
  for (TraceRequest& request : all) {
    request.at -= begin;
    if (request.at >= 0 && request.at < seconds) slice.push_back(std::move(request));
  }
  if (slice.empty()) throw Error(ErrorCode::invalid_argument, "the trace has no request in this time");
  return slice;
}

Json replay(Engine& engine, const std::vector<TraceRequest>& trace, const ReplayOptions& options) {
  const double native = static_cast<double>(trace.size()) / std::max(trace.back().at, 1e-3);
  const ModelInfo info = engine.info();
  const EngineStats before = engine.stats();
  const auto begin = Clock::now();
  Flight flight(engine);
  int64_t n_sent = 0, n_cut = 0, n_prompt_tokens = 0;
  for (const TraceRequest& request : trace) {
    const double at = request.at * native / options.rate;
    if (at > options.seconds) break;
    const int32_t max_len = std::min(options.max_len, info.max_seq_len);
    const int32_t n_answer = std::clamp(request.n_answer, 1, max_len / 2);
    const int32_t n_prompt = std::clamp(request.n_prompt, 1, max_len - n_answer);
    std::vector<int32_t> prompt = prompt_of(request, static_cast<size_t>(n_sent), n_prompt, info.vocab_size);
    std::this_thread::sleep_until(begin +
                                  std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(at)));
    flight.send(std::move(prompt), n_answer);
    ++n_sent;
    n_cut += n_prompt < request.n_prompt;
    n_prompt_tokens += n_prompt;
  }
  flight.wait_until(begin +
                    std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(options.seconds)));
  const double seconds = seconds_between(begin, Clock::now());
  const EngineStats sent = engine.stats();
  flight.wait_until(Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds)));
  const double all_seconds = seconds_between(begin, Clock::now());
  const EngineStats after = engine.stats();
  flight.stop();
  const Flight::Seen seen = flight.seen();
  const auto prompt_tokens = static_cast<double>(sent.prompt_tokens_total - before.prompt_tokens_total);
  const double host = sent.host_seconds - before.host_seconds;
  return {{"requests_per_s", options.rate},
          {"requests", n_sent},
          {"cut", n_cut},
          {"prompt_tokens", n_prompt_tokens},
          {"finished", seen.n_finished},
          {"failed", seen.n_failed},
          {"seconds", seconds},
          {"all_seconds", all_seconds},
          {"answer_tokens_per_s",
           static_cast<double>(after.generated_tokens_total - before.generated_tokens_total) / all_seconds},
          {"prompt_tokens_per_s", prompt_tokens / seconds},
          {"cached_share",
           static_cast<double>(sent.cached_tokens_total - before.cached_tokens_total) / std::max(prompt_tokens, 1.0)},
          {"steps", sent.steps_total - before.steps_total},
          {"execute_share", (sent.execute_seconds - before.execute_seconds) / seconds},
          {"host_share", host / seconds},
          {"preempted", after.preemptions_swap + after.preemptions_recompute - before.preemptions_swap -
                            before.preemptions_recompute},
          {"first_token_ms", spread_ms(seen.first_s)},
          {"token_ms", spread_ms(seen.gaps_s)}};
}

Json measure_hit(Engine& engine, const HitOptions& options) {
  const ModelInfo info = engine.info();
  TraceRequest whole;
  for (int32_t i = 0; i * kBlockTokens < options.context; ++i) whole.blocks.push_back(static_cast<uint64_t>(i) << 40);
  const int32_t n_prompt = std::min(options.context, info.max_seq_len - 2);
  const std::vector<int32_t> prompt = prompt_of(whole, 0, n_prompt, info.vocab_size);
  Flight running(engine);
  for (int32_t i = 0; i < options.n_running; ++i) {
    running.send(prompt_of({}, static_cast<size_t>(i) + 1000, 100, info.vocab_size), info.max_seq_len - 200);
  }
  running.wait_for_tokens(64 * options.n_running);
  std::vector<double> alone_s = running.seen().gaps_s;
  std::vector<double> first_s, waits_s;
  double cold_s = 0;
  for (int round = 0; round <= options.rounds; ++round) {
    running.forget_gaps();
    Flight hit(engine);
    hit.send(prompt, 1);
    hit.wait_until(Clock::now() + std::chrono::hours(1));
    std::vector<double> gaps = running.seen().gaps_s;
    if (round == 0) {
      cold_s = hit.seen().first_s.at(0);
      continue;
    }
    first_s.push_back(hit.seen().first_s.at(0));
    waits_s.push_back(quantile(gaps, 1.0));
  }
  const double step_s = quantile(alone_s, 0.5), first = quantile(first_s, 0.5), wait = quantile(waits_s, 0.5);
  return {{"context", n_prompt},
          {"running", options.n_running},
          {"step_ms", 1e3 * step_s},
          {"cold_first_token_ms", 1e3 * cold_s},
          {"hit_first_token_ms", 1e3 * first},
          {"longest_wait_ms", 1e3 * wait},
          {"cost_in_steps", (wait - step_s) / step_s},
          {"first_token_in_steps", first / step_s}};
}

}  // namespace arc::bench
