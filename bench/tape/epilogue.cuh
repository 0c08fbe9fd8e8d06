// The epilogue warp: adds the column slices of finished rows, applies what follows the product, publishes. It also
// opens a step (embedding) and closes it (argmax over all SMs).
#pragma once

#include "block.cuh"

namespace arc::tape {

constexpr uint32_t kMaxSms = 160;

template <bool kProbe>
class EpilogueWarp {
 public:
  __device__ __forceinline__ EpilogueWarp(Shared& shared, const LaunchArgs& launch)
      : shared_(shared), launch_(launch), lane_(lane_id()), token_(shared.start.token) {}

  __device__ __forceinline__ void visit(const StageView& view, uint32_t k) {
    step_ = shared_.start.step + k;
    switch (view.stage.op) {
      case Op::embed:
        embed(view);
        break;
      case Op::product:
        finish_product(view);
        break;
      case Op::argmax:
        choose_token(view, k);
        break;
      case Op::attend:
        break;
    }
  }

  // What the next launch starts from.
  __device__ __forceinline__ void leave_state() const {
    if (blockIdx.x == 0 && lane_ == 0)
      *launch_.state = {token_, shared_.start.position + n_done_, shared_.start.step + n_done_};
  }

 private:
  __device__ __forceinline__ static bool waits(const StageView& view) {
    return !kProbe || !(view.stage.skip_waits & kSkipSquares);
  }

  // Row of this SM's group: groups have 8 rows.
  __device__ __forceinline__ static uint32_t row_of(const StageView& view, uint32_t i) {
    return view.group(i / kTileRows) * kTileRows + i % kTileRows;
  }

  __device__ __forceinline__ void publish_squares(const BufferRef& squares, float sum) {
    sum = warp_sum(sum);
    if (lane_ == 0) store_word(at<uint64_t>(squares.address) + blockIdx.x, tagged32(sum, tag_at(squares, step_)));
  }

  __device__ __forceinline__ void embed(const StageView& view) {
    const TapeStage& stage = view.stage;
    const BufferRef& x = stage.writes[kVector];
    const auto* table =
        at<const __nv_bfloat16>(stage.weights[kMatrix].address) + uint64_t(token_) * stage.product.n_out;
    const float* gain = at<const float>(stage.weights[kNextNorm].address);
    float squares = 0;
    for (uint32_t i = lane_; i < view.n_groups * kTileRows; i += 32) {
      const uint32_t row = row_of(view, i);
      const float r = __bfloat162float(table[row]);
      squares += r * r;
      at<float>(stage.writes[kResidual].address)[row] = r;
      store_word(at<uint32_t>(x.address) + row, tagged16(r * __ldg(gain + row), tag_at(x, step_)));
    }
    publish_squares(stage.writes[kSquares], squares);
  }

  // 1 / rms of the vector whose squares the SMs published.
  __device__ __forceinline__ float wait_scale(const BufferRef& squares, uint32_t n, float eps, bool waits) {
    constexpr uint32_t kRounds = kMaxSms / 32;
    const uint32_t tag = tag_at(squares, step_);
    const Watchdog watchdog("squares");
    while (true) {
      bool stale = false;
      float sum = 0;
      uint64_t words[kRounds];
#pragma unroll
      for (uint32_t r = 0; r < kRounds; ++r)
        if (lane_ + 32 * r < gridDim.x) words[r] = load_word(at<const uint64_t>(squares.address) + lane_ + 32 * r);
#pragma unroll
      for (uint32_t r = 0; r < kRounds; ++r)
        if (lane_ + 32 * r < gridDim.x) {
          stale |= waits && tag_of(words[r]) != tag;
          sum += value_of(words[r]);
        }
      if (!__any_sync(kAllLanes, stale)) return rsqrtf(warp_sum(sum) / n + eps);
      watchdog.check(tag);
    }
  }

  __device__ __forceinline__ static float sum_slices(const float* sums, uint32_t row, uint32_t n_rows,
                                                     uint32_t n_slices) {
    float v = 0;
#pragma unroll 8
    for (uint32_t slice = 0; slice < n_slices; ++slice) v += sums[slice * n_rows + row];
    return v;
  }

  __device__ __forceinline__ void finish_product(const StageView& view) {
    const ProductArgs& args = view.stage.product;
    if (args.epilogue == Epilogue::keep_best) begin_best();
    note_now<kProbe>(launch_, view, Mark::epilogue_begin);
    float scale = 1, squares = 0;
    if (view.n_passes > 0 && view.stage.reads[kSquares].address)
      scale = wait_scale(view.stage.reads[kSquares], args.n_in, args.eps, waits(view));
    note_now<kProbe>(launch_, view, Mark::scale_ready);
    for (uint32_t pass = 0; pass < view.n_passes; ++pass, regions_.advance(1)) {
      const float* sums = shared_.sums[regions_.index()];
      switch (args.epilogue) {
        case Epilogue::store:
          store_rows(view, pass, sums, scale);
          break;
        case Epilogue::add_residual:
          squares += add_residual(view, pass, sums);
          break;
        case Epilogue::silu_mul:
          gate_rows(view, pass, sums, scale);
          break;
        case Epilogue::keep_best:
          keep_best(view, pass, sums, scale);
          break;
      }
      warp_arrive(&shared_.region_empty[regions_.index()]);
    }
    if (args.epilogue == Epilogue::add_residual) publish_squares(view.stage.writes[kSquares], squares);
    if (args.epilogue == Epilogue::keep_best) publish_best(view);
    note_now<kProbe>(launch_, view, Mark::published);
  }

  __device__ __forceinline__ void wait_sums(const StageView& view) {
    barrier_wait(&shared_.region_full[regions_.index()], regions_.parity(), "sums");
    note_now<kProbe>(launch_, view, Mark::sums_ready);
  }
  __device__ __forceinline__ static uint32_t rows_in(const StageView& view, uint32_t pass) {
    return (view.pass_end(pass) - view.pass_begin(pass)) * kTileRows;
  }

  __device__ __forceinline__ void store_rows(const StageView& view, uint32_t pass, const float* sums, float scale) {
    const BufferRef& y = view.stage.writes[kVector];
    const uint32_t n_rows = rows_in(view, pass), first = view.pass_begin(pass) * kTileRows, tag = tag_at(y, step_);
    wait_sums(view);
    for (uint32_t i = lane_; i < n_rows; i += 32) {
      const float v = sum_slices(sums, i, n_rows, view.n_slices) * scale;
      store_word(at<uint32_t>(y.address) + row_of(view, first + i), tagged16(v, tag));
    }
  }

  // At most kResidualGroups groups a pass, so that residual and gains are loaded before the sums are there.
  __device__ __forceinline__ float add_residual(const StageView& view, uint32_t pass, const float* sums) {
    constexpr uint32_t kRounds = kResidualGroups * kTileRows / 32;
    const TapeStage& stage = view.stage;
    const BufferRef& y = stage.writes[kVector];
    const uint32_t n_rows = rows_in(view, pass), first = view.pass_begin(pass) * kTileRows, tag = tag_at(y, step_);
    float residual[kRounds] = {}, gain[kRounds] = {}, squares = 0;
#pragma unroll
    for (uint32_t r = 0; r < kRounds; ++r)
      if (lane_ + 32 * r < n_rows) {
        const uint32_t row = row_of(view, first + lane_ + 32 * r);
        residual[r] = __ldcg(at<const float>(stage.reads[kResidual].address) + row);
        gain[r] = __ldg(at<const float>(stage.weights[kNextNorm].address) + row);
      }
    wait_sums(view);
#pragma unroll
    for (uint32_t r = 0; r < kRounds; ++r)
      if (lane_ + 32 * r < n_rows) {
        const uint32_t row = row_of(view, first + lane_ + 32 * r);
        const float v = residual[r] + sum_slices(sums, lane_ + 32 * r, n_rows, view.n_slices);
        store_word(at<uint32_t>(y.address) + row, tagged16(v * gain[r], tag));
        at<float>(stage.writes[kResidual].address)[row] = v;
        squares += v * v;
      }
    return squares;
  }

  __device__ __forceinline__ void gate_rows(const StageView& view, uint32_t pass, const float* sums, float scale) {
    const BufferRef& y = view.stage.writes[kVector];
    const uint32_t n_rows = rows_in(view, pass), first = view.pass_begin(pass) * kTileRows, tag = tag_at(y, step_);
    wait_sums(view);
    for (uint32_t i = lane_; i < n_rows / 2; i += 32) {
      float gate = 0, up = 0;
#pragma unroll 4
      for (uint32_t slice = 0; slice < view.n_slices; ++slice) {
        const float2 v = *reinterpret_cast<const float2*>(sums + slice * n_rows + 2 * i);
        gate += v.x;
        up += v.y;
      }
      gate *= scale;
      up *= scale;
      const float h = gate / (1 + __expf(-gate)) * up;
      store_word(at<uint32_t>(y.address) + row_of(view, first + 2 * i) / 2, tagged16(h, tag));
    }
  }

  __device__ __forceinline__ void begin_best() {
    best_ = -INFINITY;
    best_row_ = 0x7fffffff;
    stop_asked_ = blockIdx.x == 0 && lane_ == 0 && *launch_.attention != 0;
  }

  __device__ __forceinline__ void take_better(float value, uint32_t row) {
    if (value > best_ || (value == best_ && row < best_row_)) {
      best_ = value;
      best_row_ = row;
    }
  }
  __device__ __forceinline__ void best_of_lanes() {
    for (uint32_t lanes = 16; lanes; lanes /= 2)
      take_better(__shfl_xor_sync(kAllLanes, best_, lanes), __shfl_xor_sync(kAllLanes, best_row_, lanes));
  }

  __device__ __forceinline__ void keep_best(const StageView& view, uint32_t pass, const float* sums, float scale) {
    const uint64_t logits = view.stage.writes[kVector].address;
    const uint32_t n_rows = rows_in(view, pass), first = view.pass_begin(pass) * kTileRows;
    wait_sums(view);
    for (uint32_t i = lane_; i < n_rows; i += 32) {
      const uint32_t row = row_of(view, first + i);
      if (row >= view.stage.product.n_out) continue;
      const float v = sum_slices(sums, i, n_rows, view.n_slices) * scale;
      take_better(v, row);
      if (logits) at<float>(logits)[row] = v;
    }
  }

  // Candidate of an SM: its best value, then the row with the wish to stop in the top bit.
  __device__ __forceinline__ void publish_best(const StageView& view) {
    const BufferRef& candidates = view.stage.writes[kCandidates];
    const uint64_t tag = uint64_t(tag_at(candidates, step_)) << 32;
    best_of_lanes();
    if (lane_ == 0)
      store_words2(at<uint64_t>(candidates.address) + 2 * blockIdx.x, tag | __float_as_uint(best_),
                   tag | best_row_ | uint32_t(stop_asked_) << 31);
  }

  // Every SM reads all candidates and comes to the same token, so nothing has to be sent back.
  __device__ __forceinline__ void choose_token(const StageView& view, uint32_t k) {
    const BufferRef& candidates = view.stage.reads[kCandidates];
    const uint32_t tag = tag_at(candidates, step_);
    const Watchdog watchdog("candidates");
    bool stop = false;
    best_ = -INFINITY;
    best_row_ = 0x7fffffff;
    for (uint32_t sm = lane_; sm < gridDim.x; sm += 32) {
      const uint64_t* from = at<const uint64_t>(candidates.address) + 2 * sm;
      uint64_t value = load_word(from), row = load_word(from + 1);
      while (waits(view) && (tag_of(value) != tag || tag_of(row) != tag)) {
        watchdog.check(tag, sm);
        value = load_word(from);
        row = load_word(from + 1);
      }
      stop |= waits(view) && uint32_t(row) >> 31;
      take_better(value_of(value), uint32_t(row) & 0x7fffffff);
    }
    best_of_lanes();
    token_ = kProbe ? best_row_ % launch_.vocab : best_row_;  // a probe may find nonsense
    ++n_done_;
    if (blockIdx.x == 0 && lane_ == 0) launch_.tokens[step_ % launch_.n_ring] = token_;
    stop = __any_sync(kAllLanes, stop);
    if (stop && lane_ == 0) shared_.stop = 1;
    warp_arrive(&shared_.step_done);
  }

  Shared& shared_;
  const LaunchArgs& launch_;
  const uint32_t lane_;
  uint32_t step_ = 0;
  int32_t token_ = 0, n_done_ = 0;
  Cursor<kRegions> regions_;
  float best_ = 0;
  uint32_t best_row_ = 0;
  bool stop_asked_ = false;
};

}  // namespace arc::tape
