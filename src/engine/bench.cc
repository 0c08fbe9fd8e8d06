// Times prefill and decoding of a loaded engine through its public interface.
#include "arc/bench.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "fmt/format.h"

#include "base/error.h"
#include "engine/machine_peaks.h"

namespace arc {
namespace {

using Clock = std::chrono::steady_clock;

Spread spread(std::vector<double> values) {
  if (values.empty()) return {};
  std::ranges::sort(values);
  const size_t n = values.size();
  return {.median = (values[(n - 1) / 2] + values[n / 2]) / 2, .min = values.front(), .max = values.back()};
}

double seconds(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

// Requests side by side, and when the engine had their tokens.
class Batch {
 public:
  // `row.batch` prompts, no two alike; `salt` makes those of different batches differ. A prefill ends with the first
  // token of the last request, a decode begins there and ends when each request has `row.tokens` more.
  Batch(Engine& engine, const BenchRow& row, uint32_t salt)
      : engine_(engine), row_(row), counts_(row.batch, 0), n_open_(row.batch) {
    const auto vocab = static_cast<uint32_t>(engine.info().vocab_size);
    const bool prefill = row.kind == BenchRow::Kind::prefill;
    const SamplingParams sampling{.temperature = 0, .max_tokens = prefill ? 1 : -1, .ignore_eos = true};
    submitted_ = Clock::now();
    for (int32_t s = 0; s < row.batch; ++s) {
      TokenPrompt prompt;
      for (int32_t i = 0; i < (prefill ? row.tokens : row.context); ++i) {
        prompt.tokens.push_back(static_cast<int32_t>((salt + 7u * s + 40503u * i) % vocab));
      }
      ids_.push_back(engine.submit({.prompt = std::move(prompt), .sampling = sampling},
                                   [this, s](const Event& event) { take(event, static_cast<size_t>(s)); }));
    }
  }
  Batch(const Batch&) = delete;
  Batch& operator=(const Batch&) = delete;
  ~Batch() {
    for (RequestId id : ids_) engine_.cancel(id);
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return n_open_ == 0; });
  }

  double wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return done_ || !error_.empty(); });
    if (!done_) throw Error(ErrorCode::resource, error_);
    return row_.kind == BenchRow::Kind::prefill ? seconds(submitted_, *first_) : seconds(*first_, *done_);
  }

 private:
  bool all_have(int32_t n) const {
    return std::ranges::all_of(counts_, [n](int32_t count) { return count >= n; });
  }

  void take(const Event& event, size_t sequence) {
    const std::lock_guard lock(mutex_);
    counts_[sequence] += static_cast<int32_t>(event.tokens.size());
    if (!first_ && all_have(1)) {
      first_ = event.made;
      std::ranges::fill(counts_, 0);
      if (row_.kind == BenchRow::Kind::prefill) done_ = first_;
    } else if (first_ && !done_ && all_have(row_.tokens)) {
      done_ = event.made;
    }
    if (event.finish) {
      --n_open_;
      if (event.finish == FinishReason::error) error_ = event.error;
      if (!done_ && row_.kind == BenchRow::Kind::decode && error_.empty()) error_ = "a sequence ended too early";
    }
    if (done_ || event.finish) changed_.notify_all();
  }

  Engine& engine_;
  const BenchRow& row_;
  std::vector<RequestId> ids_;
  Clock::time_point submitted_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<int32_t> counts_;  // tokens of each request, from the start or since first_
  int32_t n_open_;
  std::optional<Clock::time_point> first_, done_;
  std::string error_;
};

std::vector<BenchRow> rows_of(const BenchOptions& options) {
  std::vector<BenchRow> rows;
  for (int32_t batch : options.batches) {
    for (int32_t tokens : options.prompts) {
      rows.push_back({.kind = BenchRow::Kind::prefill, .batch = batch, .tokens = tokens});
    }
    if (options.decode_tokens == 0) continue;
    for (int32_t context : options.contexts) {
      rows.push_back({.batch = batch, .context = context, .tokens = options.decode_tokens});
    }
  }
  return rows;
}

// Decoding the i-th token reads the prompt's entries and those of the i tokens up to itself.
double work_per_token(const BenchRow& row, const StepCosts& costs) {
  if (row.kind == BenchRow::Kind::prefill) {
    return static_cast<double>(costs.flops_per_token) + static_cast<double>(costs.flops_per_row) / row.tokens;
  }
  const double cached = row.context + (row.tokens + 1) / 2.0;
  return static_cast<double>(costs.weight_bytes) / row.batch +
         static_cast<double>(costs.cache_bytes_per_context_token) * cached;
}

void check(const BenchRow& row, const ModelInfo& info) {
  const auto require = [](bool ok, const std::string& rule) {
    if (!ok) throw Error(ErrorCode::invalid_argument, rule);
  };
  require(row.batch >= 1 && row.batch <= 4096, "a batch must be between 1 and 4096 sequences");
  require(row.tokens >= 1 && row.context >= 0, "lengths must be positive");
  require(row.kind == BenchRow::Kind::prefill || row.context >= 1, "a context must have at least one token");
  require(int64_t{row.context} + row.tokens < info.max_seq_len,
          fmt::format("{} tokens after a context of {} do not fit in the longest sequence, {} tokens: measure less "
                      "(-p, -n, --context), or raise --max-seq-len or --kv-memory if the model allows it",
                      row.tokens, row.context, info.max_seq_len));
}

}  // namespace

Spread BenchRow::tokens_per_second() const {
  std::vector<double> rates;
  for (double s : seconds) rates.push_back(static_cast<double>(batch) * tokens / s);
  return spread(rates);
}

Spread BenchRow::ceiling() const {
  return spread(ceilings);
}

std::vector<BenchRow> run_bench(Engine& engine, const BenchOptions& options, const ProgressSink& progress) {
  const ModelInfo info = engine.info();
  std::vector<BenchRow> rows = rows_of(options);
  if (rows.empty())
    throw Error(ErrorCode::invalid_argument, "there is nothing to measure: give prompts or tokens to decode");
  for (BenchRow& row : rows) {
    check(row, info);
    row.work_per_token = work_per_token(row, info.costs);
  }
  const int threads = n_threads(options.threads);
  const ReadCeiling read_ceiling(threads);
  const auto per_row = static_cast<size_t>(options.warmup) + static_cast<size_t>(options.repetitions);
  uint32_t salt = 0;
  for (size_t r = 0; r < rows.size(); ++r) {
    BenchRow& row = rows[r];
    for (size_t i = 0; i < per_row; ++i) {
      if (progress) progress("measuring", (r * per_row + i) / static_cast<double>(rows.size() * per_row));
      const bool prefill = row.kind == BenchRow::Kind::prefill;
      const double ceiling = prefill ? measure_matrix_peak(threads) : read_ceiling.bytes_per_second();
      const double measured = Batch(engine, row, salt += 1009).wait();
      if (i < static_cast<size_t>(options.warmup)) continue;
      row.ceilings.push_back(ceiling);
      row.seconds.push_back(measured);
    }
  }
  return rows;
}

}  // namespace arc
