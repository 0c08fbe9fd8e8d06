#include "parity/stage_parity.h"

#include <algorithm>
#include <cmath>
#include <cstring>

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
  void put(BufferId id, const TensorView& view) const { std::memcpy(view.data, bytes_[id].data(), bytes_[id].size()); }
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

// The largest share of its bound that any element reaches.
double worst_share(const TensorView& got, const TensorView& expected, const std::vector<double>& bounds) {
  double worst = 0.0;
  for (int64_t r = 0; r < expected.rows; ++r) {
    for (int64_t c = 0; c < expected.cols; ++c) {
      const double error = std::fabs(value(got, r, c) - value(expected, r, c));
      const double bound = bounds[static_cast<size_t>(r * expected.cols + c)];
      if (std::isnan(error)) return HUGE_VAL;
      if (error > 0.0) worst = std::max(worst, bound > 0.0 ? error / bound : HUGE_VAL);
    }
  }
  return worst;
}

TensorView columns(TensorView view, const BufferRef& ref, int rows) {
  view.data = static_cast<std::byte*>(view.data) + ref.col * static_cast<int64_t>(dtype_size(view.dtype));
  view.cols = ref.cols;
  view.rows = rows;
  return view;
}

}  // namespace

double ParityReport::worst() const {
  double worst = 0.0;
  for (const auto& [op, share] : shares) worst = std::max(worst, share);
  return worst;
}

ParityReport stage_parity(const Golden& golden, const Checkpoint& checkpoint, const TinyOptions& other_options,
                          int chunk, double product_rounding) {
  TinyModel reference(golden.config_json, checkpoint, TinyOptions{.cache = other_options.cache});
  TinyModel other(golden.config_json, checkpoint, other_options);
  const Plan& plan = reference.plan();
  std::vector<Snapshot> trace;  // what each stage wrote, in the order of the run
  reference.set_observer([&](size_t stage, int n) {
    Snapshot& written = trace.emplace_back(plan);
    for (const BufferRef& ref : plan.stages[stage].writes) {
      if (ref.buffer != kNone) written.take(ref.buffer, reference.buffer(ref.buffer), n);
    }
  });
  reference.run(golden.tokens, chunk);

  ParityReport report;
  StageBounds bounds(plan, reference.weights(), product_rounding);
  Snapshot now(plan);  // the reference's buffers
  size_t step = 0;
  other.set_observer([&](size_t index, int n) {
    const Stage& stage = plan.stages[index];
    Snapshot& after = trace[step++];
    const StageRun run{.stage = stage,
                       .reads = {now.view(stage.reads[0], n), now.view(stage.reads[1], n)},
                       .before = now.view(stage.writes[0], n),
                       .after = after.view(stage.writes[0], n)};
    std::vector<double> allowed = bounds.of(run);
    for (const BufferRef& ref : stage.writes) {
      if (ref.buffer == kNone) continue;
      const TensorView got = columns(other.buffer(ref.buffer), ref, n), expected = after.view(ref, n);
      // Further outputs (a router's weights) are computed as the reference does, but for the last rounding.
      if (&ref != stage.writes) {
        allowed.clear();
        for (int64_t i = 0; i < n * ref.cols; ++i)
          allowed.push_back(0x1p-23 * std::fabs(value(expected, i / ref.cols, i % ref.cols)));
      }
      const double share = worst_share(got, expected, allowed);
      double& worst = report.shares[std::string(op_name(stage.args))];
      worst = std::max(worst, share);
      if (share > 1.0 && report.first_failure.empty()) {
        report.first_failure =
            fmt::format("stage {} ({}, layer {}): {} times its bound", index, op_name(stage.args), stage.layer, share);
      }
      after.put(ref.buffer, other.buffer(ref.buffer));
      now.take(after, ref.buffer);
    }
  });
  other.run(golden.tokens, chunk);
  return report;
}

}  // namespace arc::test
