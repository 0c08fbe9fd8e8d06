#include "parity/stage_parity.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>

#include "fmt/format.h"

#include "parity/stage_bounds.h"

namespace arc::test {
namespace {

// The first rows of all buffers of a plan, as bytes.
class Snapshot {
 public:
  explicit Snapshot(const Plan& plan) : plan_(plan), bytes_(plan.buffers.size()) {}

  void take(BufferId id, const TensorView& view, int rows) {
    const auto* data = static_cast<const std::byte*>(view.data);
    bytes_[id].assign(data, data + size_bytes(id, rows));
  }
  TensorView whole(BufferId id, int rows) { return view({.buffer = id, .cols = plan_.buffers[id].cols}, rows); }
  void take(const Snapshot& other, BufferId id) { bytes_[id] = other.bytes_[id]; }

  // The columns of `ref`; nothing that was never taken.
  TensorView view(const BufferRef& ref, int rows) {
    if (ref.buffer == kNone) return {};
    const Buffer& buffer = plan_.buffers[ref.buffer];
    bytes_[ref.buffer].resize(size_bytes(ref.buffer, rows));
    return {.data = bytes_[ref.buffer].data() + ref.col * static_cast<int64_t>(dtype_size(buffer.dtype)),
            .dtype = buffer.dtype,
            .rows = rows,
            .cols = ref.cols,
            .row_stride = buffer.cols};
  }

 private:
  size_t size_bytes(BufferId id, int rows) const {
    return static_cast<size_t>(rows) * plan_.buffers[id].cols * dtype_size(plan_.buffers[id].dtype);
  }
  const Plan& plan_;
  std::vector<std::vector<std::byte>> bytes_;
};

double value(const TensorView& view, int64_t row, int64_t col) {
  return view.dtype == DType::i32 ? view.row<int32_t>(row)[col] : static_cast<double>(view.row<float>(row)[col]);
}

// The element that comes nearest to its bound, or goes farthest beyond.
struct Worst {
  double share = 0.0, got = 0.0, expected = 0.0, bound = 0.0;
  int64_t row = 0, col = 0;
  int64_t n_bad = 0, n = 0;  // elements outside their bound, and all
};

Worst worst_element(const TensorView& got, const TensorView& expected, const std::vector<double>& bounds) {
  Worst worst{.n = expected.rows * expected.cols};
  for (int64_t r = 0; r < expected.rows; ++r) {
    for (int64_t c = 0; c < expected.cols; ++c) {
      const double g = value(got, r, c), e = value(expected, r, c), error = std::fabs(g - e);
      const double bound = bounds[static_cast<size_t>(r * expected.cols + c)];
      double share = error == 0.0 ? 0.0 : bound > 0.0 ? error / bound : HUGE_VAL;
      if (std::isnan(error)) share = HUGE_VAL;
      worst.n_bad += share > 1.0;
      if (share <= worst.share) continue;
      const int64_t n_bad = worst.n_bad;
      worst = {
          .share = share, .got = g, .expected = e, .bound = bound, .row = r, .col = c, .n_bad = n_bad, .n = worst.n};
    }
  }
  return worst;
}

TensorView columns(TensorView view, const BufferRef& ref) {
  view.data = static_cast<std::byte*>(view.data) + ref.col * static_cast<int64_t>(dtype_size(view.dtype));
  view.cols = ref.cols;
  return view;
}

// Keys and values are stored by rounding alone, so their bytes are equal. In words what differs; absent: the other
// executor stores them in another form.
std::optional<std::string> cache_difference(TinyModel& reference, TinyModel& other, size_t stage, int64_t n_blocks) {
  const auto expected = reference.inspected().kv_bytes(stage, n_blocks);
  const auto got = other.inspected().kv_bytes(stage, n_blocks);
  if (got.empty()) return std::nullopt;
  const auto at = std::ranges::mismatch(expected, got).in1 - expected.begin();
  return static_cast<size_t>(at) == expected.size() ? "" : fmt::format("cache byte {} of {} differs", at, got.size());
}

class Comparison {
 public:
  Comparison(const Plan& plan, ParityReport& report) : plan_(plan), report_(report) {}

  void take(size_t stage, const BufferRef& ref, const Worst& w) {
    double& worst = report_.shares[name(stage)];
    worst = std::max(worst, w.share);
    if (w.share <= 1.0) return;
    fail(stage,
         fmt::format("{} times its bound in {} at row {}, column {}: got {:.9g}, want {:.9g}, bound {:.3g}; {} of {} "
                     "elements are outside",
                     w.share, plan_.buffers[ref.buffer].name, w.row, ref.col + w.col, w.got, w.expected, w.bound,
                     w.n_bad, w.n));
  }
  void fail(size_t stage, const std::string& how) {
    if (failed_.insert(name(stage)).second) {
      report_.failures.push_back(
          fmt::format("stage {} ({}, layer {}): {}", stage, name(stage), plan_.stages[stage].layer, how));
    }
    if (report_.first_failure.empty()) report_.first_failure = report_.failures.back();
  }

 private:
  std::string name(size_t stage) const { return std::string(op_name(plan_.stages[stage].args)); }
  const Plan& plan_;
  ParityReport& report_;
  std::set<std::string> failed_;
};

// What each stage of the reference wrote, in the order of the run.
std::vector<Snapshot> trace_of(TinyModel& reference, std::span<const int32_t> tokens, int chunk) {
  const Plan& plan = reference.plan();
  std::vector<Snapshot> trace;
  reference.set_observer([&](size_t stage, int n) {
    Snapshot& written = trace.emplace_back(plan);
    for (const BufferRef& ref : plan.stages[stage].writes) {
      if (ref.buffer != kNone) written.take(ref.buffer, reference.inspected().read(ref.buffer, n), n);
    }
  });
  reference.run(tokens, chunk);
  reference.set_observer({});
  return trace;
}

}  // namespace

double ParityReport::worst() const {
  double worst = 0.0;
  for (const auto& [op, share] : shares) worst = std::max(worst, share);
  return worst;
}

ParityReport stage_parity(TinyModel& reference, TinyModel& other, std::span<const int32_t> tokens, int chunk,
                          double product_rounding, double attend_rounding) {
  const Plan& plan = reference.plan();
  std::vector<Snapshot> trace = trace_of(reference, tokens, chunk);
  ParityReport report;
  Comparison comparison(plan, report);
  StageBounds bounds(plan, reference.weights(), product_rounding, attend_rounding,
                     other.inspected().attends_in_bytes());
  // What the other wrote, stage by stage of every step, which goes on with the reference's numbers.
  struct Written {
    size_t stage = 0;
    int n = 0;
    std::vector<TensorView> buffers;  // of the stage's writes
  };
  std::vector<Written> run;
  other.inspected().forget();
  other.set_observer([&](size_t index, int n) {
    Snapshot& after = trace[run.size()];
    Written& written = run.emplace_back(Written{.stage = index, .n = n});
    for (const BufferRef& ref : plan.stages[index].writes) {
      if (ref.buffer == kNone) continue;
      written.buffers.push_back(other.inspected().read_later(ref.buffer, n));
      other.inspected().write(ref.buffer, after.whole(ref.buffer, n));
    }
  });
  other.run(tokens, chunk);
  other.set_observer({});
  Snapshot now(plan);  // the reference's buffers
  for (size_t step = 0; step < run.size(); ++step) {
    const auto& [index, n, buffers] = run[step];
    const Stage& stage = plan.stages[index];
    Snapshot& after = trace[step];
    std::vector<double> allowed = bounds.of({.stage = stage,
                                             .reads = {now.view(stage.reads[0], n), now.view(stage.reads[1], n)},
                                             .before = now.view(stage.writes[0], n),
                                             .after = after.view(stage.writes[0], n)});
    size_t i = 0;
    for (const BufferRef& ref : stage.writes) {
      if (ref.buffer == kNone) continue;
      const TensorView got = columns(buffers[i++], ref), expected = after.view(ref, n);
      // Further outputs (a router's weights) are computed as the reference does, but for the last rounding.
      if (&ref != stage.writes) {
        allowed.clear();
        for (int64_t e = 0; e < n * ref.cols; ++e)
          allowed.push_back(0x1p-23 * std::fabs(value(expected, e / ref.cols, e % ref.cols)));
      }
      comparison.take(index, ref, worst_element(got, expected, allowed));
      now.take(after, ref.buffer);
    }
  }
  const int64_t n_blocks = 1 + (static_cast<int64_t>(tokens.size()) + kTileTokens - 1) / kTileTokens;
  for (size_t i = 0; i < plan.stages.size(); ++i) {
    if (!std::holds_alternative<AppendArgs>(plan.stages[i].args)) continue;
    const auto difference = cache_difference(reference, other, i, n_blocks);
    if (!difference) continue;
    double& share = report.shares["append"];
    if (difference->empty()) continue;
    share = HUGE_VAL;
    comparison.fail(i, *difference);
  }
  return report;
}

ParityReport stage_parity(const Golden& golden, const Checkpoint& checkpoint, const TinyOptions& other_options,
                          int chunk, double product_rounding, double attend_rounding) {
  TinyModel reference(golden.config_json, checkpoint,
                      TinyOptions{.cache = other_options.cache, .cache_type = other_options.cache_type});
  TinyModel other(golden.config_json, checkpoint, other_options);
  return stage_parity(reference, other, golden.tokens, chunk, product_rounding, attend_rounding);
}

}  // namespace arc::test
