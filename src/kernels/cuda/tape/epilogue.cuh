// The epilogue warp: adds the column slices of finished rows, applies what follows the product, publishes. It also
// opens a step (embedding) and counts it.
#pragma once

#include "kernels/cuda/tape/block.cuh"
#include "kernels/cuda/tape/experts.cuh"

namespace arc::tape {

class EpilogueWarp {
 public:
  __device__ __forceinline__ explicit EpilogueWarp(Shared& shared) : shared_(shared), lane_(lane_id()) {}

  __device__ __forceinline__ void visit(const StageView& view) {
    if (view.stage.op == Op::embed) embed(view);
    if (view.stage.op == Op::product) finish_product(view);
  }

 private:
  // Row of this SM's group: groups have 8 rows.
  __device__ __forceinline__ static uint32_t row_of(const StageView& view, uint32_t i) {
    return view.group(i / kTileRows) * kTileRows + i % kTileRows;
  }

  __device__ __forceinline__ void publish_squares(const BufferRef& squares, float sum) {
    sum = warp_sum(sum);
    if (lane_ == 0)
      store_word(at<uint64_t>(squares.address) + blockIdx.x, tagged32(sum, tag_at(squares, shared_.step)));
  }

  __device__ __forceinline__ void embed(const StageView& view) {
    const TapeStage& stage = view.stage;
    const BufferRef& x = stage.writes[kVector];
    const auto* table =
        at<const __nv_bfloat16>(stage.weights[kMatrix].address) + uint64_t(shared_.step.token) * stage.product.n_out;
    const float* gain = at<const float>(stage.weights[kNextNorm].address);
    float squares = 0;
    for (uint32_t i = lane_; i < view.n_groups * kTileRows; i += 32) {
      const uint32_t row = row_of(view, i);
      const float r = __bfloat162float(table[row]);
      squares += r * r;
      at<float>(stage.writes[kResidual].address)[row] = r;
      store_word(at<uint32_t>(x.address) + row, tagged16(r * __ldg(gain + row), tag_at(x, shared_.step)));
    }
    publish_squares(stage.writes[kSquares], squares);
  }

  // 1 / rms of the vector whose squares the SMs published.
  __device__ __forceinline__ float wait_scale(const BufferRef& squares, uint32_t n, float eps) {
    constexpr uint32_t kRounds = kMaxSms / 32;
    const uint32_t tag = tag_at(squares, shared_.step);
    await_word(at<const uint64_t>(squares.address) + gridDim.x - 1 - blockIdx.x, tag, "squares");
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
          stale |= tag_of(words[r]) != tag;
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
    float scale = 1, squares = 0;
    if (view.experts_in_rows()) choose_experts(shared_, view, lane_);
    if (view.n_passes > 0 && view.stage.reads[kSquares].address)
      scale = wait_scale(view.stage.reads[kSquares], args.n_in, args.eps);
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
        case Epilogue::scores:
          store_scores(view, pass, sums, scale);
          break;
        case Epilogue::logits:
          store_logits(view, pass, sums, scale);
          break;
      }
      warp_arrive(&shared_.region_empty[regions_.index()]);
    }
    if (args.epilogue == Epilogue::add_residual) publish_squares(view.stage.writes[kSquares], squares);
  }

  __device__ __forceinline__ void wait_sums() {
    barrier_wait(&shared_.region_full[regions_.index()], regions_.parity(), "sums");
  }
  __device__ __forceinline__ static uint32_t rows_in(const StageView& view, uint32_t pass) {
    return (view.pass_end(pass) - view.pass_begin(pass)) * kTileRows;
  }

  __device__ __forceinline__ void store_rows(const StageView& view, uint32_t pass, const float* sums, float scale) {
    const BufferRef& y = view.stage.writes[kVector];
    const float* bias = at<const float>(view.stage.weights[kBias].address);
    const uint32_t n_rows = rows_in(view, pass), first = view.pass_begin(pass) * kTileRows,
                   tag = tag_at(y, shared_.step);
    wait_sums();
    for (uint32_t i = lane_; i < n_rows; i += 32) {
      const uint32_t row = row_of(view, first + i);
      const float v = sum_slices(sums, i, n_rows, view.n_slices) * scale;
      store_word(at<uint32_t>(y.address) + row, tagged16(bias ? v + __ldg(bias + row) : v, tag));
    }
  }

  // At most kResidualGroups groups a pass, so that residual and gains are loaded before the sums are there.
  __device__ __forceinline__ float add_residual(const StageView& view, uint32_t pass, const float* sums) {
    constexpr uint32_t kRounds = kResidualGroups * kTileRows / 32;
    const TapeStage& stage = view.stage;
    const BufferRef& y = stage.writes[kVector];
    const uint32_t n_rows = rows_in(view, pass), first = view.pass_begin(pass) * kTileRows,
                   tag = tag_at(y, shared_.step);
    float residual[kRounds] = {}, gain[kRounds] = {}, squares = 0;
#pragma unroll
    for (uint32_t r = 0; r < kRounds; ++r)
      if (lane_ + 32 * r < n_rows) {
        const uint32_t row = row_of(view, first + lane_ + 32 * r);
        residual[r] = __ldcg(at<const float>(stage.reads[kResidual].address) + row);
        gain[r] = __ldg(at<const float>(stage.weights[kNextNorm].address) + row);
      }
    wait_sums();
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

  // A group's sums are 4 rows of gate and the same 4 of up.
  __device__ __forceinline__ void gate_rows(const StageView& view, uint32_t pass, const float* sums, float scale) {
    constexpr uint32_t kHalf = kTileRows / 2;
    const BufferRef& y = view.stage.writes[kVector];
    const uint32_t n_rows = rows_in(view, pass), first = view.pass_begin(pass), tag = tag_at(y, shared_.step);
    const bool weighted = view.experts_in_rows();
    wait_sums();
    for (uint32_t i = lane_; i < n_rows / 2; i += 32) {
      const uint32_t group = i / kHalf, row = group * kTileRows + i % kHalf;
      const float gate = sum_slices(sums, row, n_rows, view.n_slices) * scale;
      const float up = sum_slices(sums, row + kHalf, n_rows, view.n_slices) * scale;
      const uint32_t column = view.group(first + group) * kHalf + i % kHalf;
      const float weight = weighted ? shared_.choice.weights[column / view.stage.experts.hidden] : 1.0f;
      const float h = gate / (1 + __expf(-gate)) * up * weight;
      store_word(at<uint32_t>(y.address) + column, tagged16(h, tag));
    }
  }

  __device__ __forceinline__ void store_scores(const StageView& view, uint32_t pass, const float* sums, float scale) {
    const BufferRef& y = view.stage.writes[kVector];
    const uint32_t n_rows = rows_in(view, pass), first = view.pass_begin(pass) * kTileRows,
                   tag = tag_at(y, shared_.step);
    wait_sums();
    for (uint32_t i = lane_; i < n_rows; i += 32) {
      const uint32_t row = row_of(view, first + i);
      if (row < view.stage.product.n_out)
        store_word(at<uint64_t>(y.address) + row, tagged32(sum_slices(sums, i, n_rows, view.n_slices) * scale, tag));
    }
  }

  __device__ __forceinline__ void store_logits(const StageView& view, uint32_t pass, const float* sums, float scale) {
    float* logits = at<float>(view.stage.writes[kVector].address);
    const uint32_t n_rows = rows_in(view, pass), first = view.pass_begin(pass) * kTileRows;
    wait_sums();
    for (uint32_t i = lane_; i < n_rows; i += 32) {
      const uint32_t row = row_of(view, first + i);
      if (row < view.stage.product.n_out) logits[row] = sum_slices(sums, i, n_rows, view.n_slices) * scale;
    }
  }

  Shared& shared_;
  const uint32_t lane_;
  Cursor<kRegions> regions_;
};

}  // namespace arc::tape
