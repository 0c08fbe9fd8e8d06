// Products of plain weights with token rows on the device, and the embedding look-up.
//
// One formulation for any number of rows: weights are the first operand of m16n8k16 products, so 16 rows of a weight
// meet 8 tokens at a time. A row's columns are dealt in runs of kRun to kWarps warps, whose sums are added in order. So
// the order of a row's sum depends on the weight's width alone.
//
// Few tokens: what counts is the bytes in flight, and they come from many warps that ask for one run each. More runs a
// warp, in registers or in shared memory, leave room for fewer warps: slower on an H200.
//
// Numbers that are no bf16 are taken apart in two, high and low, of which low * low is left out: a product is exact to
// 2^-16 of its size, whatever the format. f32 weights keep f32.
#include <algorithm>
#include <type_traits>

#include "kernels/cuda/common.cuh"
#include "kernels/cuda/cuda_kernels.h"
#include "kernels/cuda/decode.cuh"
#include "kernels/cuda/expert_work.cuh"
#include "kernels/cuda/product_experts.h"
#include "kernels/cuda/product_prompt.h"
#include "kernels/cuda/tensor_core.cuh"

namespace arc::cuda {
namespace {

// Eight neighbours of a row of a plain type; what lies behind `n` is zero.
template <typename T>
__device__ __forceinline__ Split plain8(const T* row, int64_t k, int64_t n) {
  if (k >= n) return {};
  float v[8];
#pragma unroll
  for (int i = 0; i < 8; ++i) v[i] = k + i < n ? static_cast<float>(row[k + i]) : 0.0f;
  return split(v);
}

// Formats of weights: fetch() asks for eight neighbours of a row, decode() gives them; kExact: they have no low part.
struct Bf16Aligned {  // rows start at multiples of 16 bytes
  static constexpr bool kExact = true;
  using Raw = uint4;
  static __device__ Raw fetch(const uint8_t* row, int64_t k, int64_t n) {
    return k < n ? __ldcs(reinterpret_cast<const uint4*>(row) + k / 8) : Raw{};
  }
  static __device__ Split decode(const Raw& raw) { return {.high = {raw.x, raw.y, raw.z, raw.w}}; }
};
// Where the bytes of eight neighbours have no fixed place, they are read when they are decoded.
struct Place {
  const uint8_t* row = nullptr;
  int64_t k = 0, n = 0;
};
template <typename T>
struct Plain {
  static constexpr bool kExact = std::is_same_v<T, __nv_bfloat16>;
  using Raw = Place;
  static __device__ Raw fetch(const uint8_t* row, int64_t k, int64_t n) { return {row, k, n}; }
  static __device__ Split decode(const Raw& raw) { return plain8(reinterpret_cast<const T*>(raw.row), raw.k, raw.n); }
};
// Eight neighbours of a row of activations.
__device__ __forceinline__ Split activations8(const float* row, int64_t k, int64_t n, bool aligned) {
  if (!aligned) return plain8(row, k, n);
  if (k >= n) return {};
  const float4 a = *reinterpret_cast<const float4*>(row + k), b = *reinterpret_cast<const float4*>(row + k + 4);
  return split({a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w});
}

// sums += w x over the 16 columns of a step, for rows g and g + 8 of the weights.
template <bool kExact>
__device__ __forceinline__ void multiply_step(float (&sums)[4], const Split& top, const Split& bottom, const Split& x,
                                              int step) {
  const int i = 2 * step, j = 2 * step + 1;
  const uint32_t high[4] = {top.high[i], bottom.high[i], top.high[j], bottom.high[j]};
  multiply_add(sums, high, x.high[i], x.high[j]);
  multiply_add(sums, high, x.low[i], x.low[j]);
  if constexpr (!kExact) {
    const uint32_t low[4] = {top.low[i], bottom.low[i], top.low[j], bottom.low[j]};
    multiply_add(sums, low, x.high[i], x.high[j]);
  }
}

// A warp's share of 16 rows in one run: rows g and g + 8, both halves. k is the lane's first column; nothing is asked
// for from `n` on.
template <typename Format>
struct Run {
  typename Format::Raw top[kRun / 32], bottom[kRun / 32];

  __device__ __forceinline__ Run(const uint8_t* top_row, const uint8_t* bottom_row, int64_t k, int64_t n) {
#pragma unroll
    for (int half = 0; half < kRun / 32; ++half) {
      top[half] = Format::fetch(top_row, k + half * 32, n);
      bottom[half] = Format::fetch(bottom_row, k + half * 32, n);
    }
  }
};

// Column 8 c + 4 s + i of every 32 stands for place (2 c + i % 2) + 8 (i / 2) of step s: a lane's eight neighbours are
// then its share of two steps, for weights and tokens alike.
// grid: (blocks of 16 rows, tokens / (8 kTiles), z), or as ExpertWork has it.
template <typename Format, int kTiles, typename AnyWork>
__global__ void __launch_bounds__(kThreads) product_kernel(typename AnyWork::Call p) {
  __shared__ Parts<kTiles> parts;
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp, g = lane / 4, c = lane % 4;
  const AnyWork work(p, kTiles);
  if (work.n_tokens <= 0) return;
  const uint8_t *top_row = work.weights_of(p, g), *bottom_row = work.weights_of(p, g + 8);

  const int runs = work.elsewhere ? 0 : static_cast<int>((p.w.in + kRun - 1) / kRun);
  float sums[kTiles][4] = {};
  const auto fetch = [&](int run) {
    return Run<Format>(top_row, bottom_row, static_cast<int64_t>(run) * kRun + c * 8, run < runs ? p.w.in : 0);
  };
  Run<Format> ahead = fetch(warp);
  for (int run = warp; run < runs; run += kWarps) {
    const Run<Format> now = ahead;
#pragma unroll
    for (int half = 0; half < kRun / 32; ++half) {
      const int64_t k = static_cast<int64_t>(run) * kRun + half * 32 + c * 8;
      const Split top = Format::decode(now.top[half]), bottom = Format::decode(now.bottom[half]);
#pragma unroll
      for (int tile = 0; tile < kTiles; ++tile) {
        const int64_t t = tile * kTokens + g;
        Split x;
        if (t < work.n_tokens) x = activations8(work.x_row(p, tile, g), k, p.w.in, p.x_aligned);
        multiply_step<Format::kExact>(sums[tile], top, bottom, x, 0);
        multiply_step<Format::kExact>(sums[tile], top, bottom, x, 1);
      }
    }
    ahead = fetch(run + kWarps);
  }
  store_sums<kTiles>(p, work, sums, parts);
}

// The same sums where rows are few and blocks, too: each warp has kAhead runs of weights and tokens on their way.
constexpr int kAhead = 2;
constexpr int64_t kNarrowBlocks = 264;  // two for each processor

__global__ void __launch_bounds__(kThreads) narrow_kernel(const __grid_constant__ Product p) {
  using Format = Bf16Aligned;
  __shared__ Parts<1> parts;
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp, g = lane / 4, c = lane % 4;
  const Work work(p, 1);
  const uint8_t *top_row = work.weights_of(p, g), *bottom_row = work.weights_of(p, g + 8);
  const int runs = work.elsewhere ? 0 : static_cast<int>((p.w.in + kRun - 1) / kRun);
  const float* x_row = g < work.n_tokens ? p.x.row(work.first_token + g) + work.z * p.in_step : nullptr;
  struct Share {
    Format::Raw top[kRun / 32] = {}, bottom[kRun / 32] = {};
    float4 x[kRun / 32][2] = {};
  };
  const auto fetch = [&](int run) {
    Share share;
#pragma unroll
    for (int half = 0; half < kRun / 32; ++half) {
      const int64_t k = static_cast<int64_t>(run) * kRun + half * 32 + c * 8, n = run < runs ? p.w.in : 0;
      share.top[half] = Format::fetch(top_row, k, n);
      share.bottom[half] = Format::fetch(bottom_row, k, n);
      if (x_row == nullptr || k >= n) continue;
      share.x[half][0] = *reinterpret_cast<const float4*>(x_row + k);
      share.x[half][1] = *reinterpret_cast<const float4*>(x_row + k + 4);
    }
    return share;
  };
  float sums[1][4] = {};
  Share shares[kAhead];
#pragma unroll
  for (int i = 0; i < kAhead; ++i) shares[i] = fetch(warp + i * kWarps);
  for (int first = warp; first < runs; first += kAhead * kWarps) {
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const int run = first + i * kWarps;
      if (run >= runs) break;
#pragma unroll
      for (int half = 0; half < kRun / 32; ++half) {
        const float4 a = shares[i].x[half][0], b = shares[i].x[half][1];
        const Split top = Format::decode(shares[i].top[half]), bottom = Format::decode(shares[i].bottom[half]);
        const Split x = split({a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w});
        multiply_step<Format::kExact>(sums[0], top, bottom, x, 0);
        multiply_step<Format::kExact>(sums[0], top, bottom, x, 1);
      }
      shares[i] = fetch(run + kAhead * kWarps);
    }
  }
  store_sums<1>(p, work, sums, parts);
}

// f32 weights: one warp per weight row and token, f32 throughout.
__global__ void __launch_bounds__(kThreads) f32_kernel(Product p) {
  const int lane = threadIdx.x % kWarp;
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp, t = blockIdx.y;
  const int z = blockIdx.z;
  if (row >= p.w.out) return;
  const int64_t matrix = p.ids == nullptr ? z : p.ids[t * p.ids_stride + z] - p.first_expert;
  float sum = 0.0f;
  if (matrix >= 0 && matrix < p.w.count) {
    const float* weights = static_cast<const float*>(p.w.data) + (matrix * p.w.out + row) * p.w.in;
    const float* x = p.x.row(t) + z * p.in_step;
    for (int64_t k = lane; k < p.w.in; k += kWarp) sum += weights[k] * x[k];
    sum = warp_sum(sum);
    if (p.w.bias != nullptr) sum += p.w.bias[matrix * p.w.out + row];
  }
  if (lane == 0) p.y.row(t)[z * p.out_step + row] = sum;
}

template <typename Format>
void launch_format(const Product& p, int depth, cudaStream_t stream) {
  const Grid grid(p, depth);
  if (grid.tiles == 1) product_kernel<Format, 1, Work><<<grid.blocks, kThreads, 0, stream>>>(p);
  if (grid.tiles == 2) product_kernel<Format, 2, Work><<<grid.blocks, kThreads, 0, stream>>>(p);
  if (grid.tiles == 4) product_kernel<Format, 4, Work><<<grid.blocks, kThreads, 0, stream>>>(p);
}

bool is_aligned(const Product& p) {
  return p.w.in % 8 == 0 && p.x.stride % 4 == 0 && p.in_step % 4 == 0 &&
         reinterpret_cast<uintptr_t>(p.x.data) % 16 == 0;
}

void start(Product p, int depth, const Operands& o) {
  const cudaStream_t stream = stream_of(o);
  if (p.x.rows == 0) return;
  p.x_aligned = is_aligned(p);
  const WeightFormat& format = p.w.format;
  if (format.code != BlockCode::none) return product_blocks(p, depth, o.scratch, stream);
  if (format.element == DType::f32) {
    const dim3 grid(static_cast<unsigned>(blocks_for(p.w.out, kWarps)), static_cast<unsigned>(p.x.rows),
                    static_cast<unsigned>(depth));
    f32_kernel<<<grid, kThreads, 0, stream>>>(p);
  } else if (format.element == DType::f16) {
    launch_format<Plain<__half>>(p, depth, stream);
  } else if (p.w.in % 8 == 0) {
    const Grid grid(p, depth);
    const int64_t blocks = int64_t{grid.blocks.x} * grid.blocks.y * grid.blocks.z;
    if (grid.tiles > 1 || !p.x_aligned || blocks > kNarrowBlocks) {
      return launch_format<Bf16Aligned>(p, depth, stream);
    }
    narrow_kernel<<<grid.blocks, kThreads, 0, stream>>>(p);
  } else {
    launch_format<Plain<__nv_bfloat16>>(p, depth, stream);
  }
}

// From a few tokens on an expert's weights are read for all that chose it.
constexpr int64_t kFewestGrouped = 4;

bool fits_groups(const MatrixView& w, int64_t tokens) {
  return tokens >= kFewestGrouped && w.format == WeightFormat::plain(DType::bf16) && w.in % 8 == 0 &&
         w.count <= kMaxExperts;
}

// Tiles hold twice as many rows as experts have in the mean, so that few need a second one.
void start_grouped(ExpertRows p, std::byte* scratch, cudaStream_t stream) {
  p.x_aligned = is_aligned(p);
  const int64_t twice = 2 * p.choices.n_pairs() / p.w.count;
  const int tiles = twice <= kTokens ? 1 : twice <= 2 * kTokens ? 2 : 4;
  p.groups = group_by_expert(p.choices, tiles * kTokens, scratch, stream);
  const int64_t most = max_expert_tiles(p.choices.n_pairs(), p.w.count, tiles * kTokens);
  const dim3 grid(static_cast<unsigned>(blocks_for(p.w.out, kRows)), static_cast<unsigned>(most));
  using Format = Bf16Aligned;
  if (tiles == 1) product_kernel<Format, 1, ExpertWork<1>><<<grid, kThreads, 0, stream>>>(p);
  if (tiles == 2) product_kernel<Format, 2, ExpertWork<2>><<<grid, kThreads, 0, stream>>>(p);
  if (tiles == 4) product_kernel<Format, 4, ExpertWork<4>><<<grid, kThreads, 0, stream>>>(p);
}

Product product_of(const MatrixView& w, const TensorView& x, const TensorView& y) {
  return {.w = w, .row_bytes = format_bytes(w.format, 1, w.in), .x = Rows(x), .y = Rows(y)};
}
Product product_of(const Operands& o) {
  return product_of(o.weights[0], o.reads[0], o.writes[0]);
}

TensorView rows_between(TensorView view, int64_t begin, int64_t end) {
  view.data = view.row<float>(begin);
  view.rows = end - begin;
  return view;
}

template <BlockCode kCode>
__device__ float decode1(const uint8_t* row, int64_t k) {
  float v[8];
  decode8<kCode>(row, k / 8 * 8, v);
  return v[k % 8];
}

__global__ void embed_kernel(MatrixView table, int64_t row_bytes, float scale, const int32_t* tokens, Rows y) {
  const int64_t c = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (c >= table.in) return;
  const auto* row = static_cast<const uint8_t*>(table.data) + tokens[blockIdx.y] * row_bytes;
  float value = 0.0f;
  switch (table.format.code) {
    case BlockCode::q8_0:
      value = decode1<BlockCode::q8_0>(row, c);
      break;
    case BlockCode::q4_0:
      value = decode1<BlockCode::q4_0>(row, c);
      break;
    case BlockCode::q4_k:
      value = decode1<BlockCode::q4_k>(row, c);
      break;
    case BlockCode::q5_k:
      value = decode1<BlockCode::q5_k>(row, c);
      break;
    case BlockCode::q6_k:
      value = decode1<BlockCode::q6_k>(row, c);
      break;
    default:
      value = load_as_float(row, table.format.element, c);
  }
  y.row(blockIdx.y)[c] = value * scale;
}

}  // namespace

void run(const EmbedArgs& a, const Operands& o) noexcept {
  const Product p = product_of(o);
  const dim3 grid(static_cast<unsigned>(blocks_for(p.w.in, kThreads)), static_cast<unsigned>(o.step->n_tokens));
  if (o.step->n_tokens == 0) return;
  embed_kernel<<<grid, kThreads, 0, stream_of(o)>>>(p.w, p.row_bytes, a.scale, o.step->tokens, p.y);
}

namespace {

// The first rows, which are no prompt's.
void product_of_others(const LinearArgs&, const Operands& o, int64_t rows) {
  const MatrixView& w = o.weights[0];
  const TensorView x = rows_between(o.reads[0], 0, rows), y = rows_between(o.writes[0], 0, rows);
  if (fits_many(w, rows)) return product_many(w, x, y, o.scratch, stream_of(o));
  start(product_of(w, x, y), 1, o);
}
void product_of_others(const ExpertLinearArgs& a, const Operands& o, int64_t rows) {
  const MatrixView& w = o.weights[0];
  const bool grouped = fits_groups(w, rows);
  const int64_t at_once = grouped ? kMaxPairs / a.top_k : rows;
  for (int64_t first = 0; first < rows; first += at_once) {
    const auto part = [&](const TensorView& view) {
      return rows_between(view, first, std::min(first + at_once, rows));
    };
    const Rows ids(part(o.reads[1]));
    ExpertRows p{product_of(w, part(o.reads[0]), part(o.writes[0]))};
    p.in_step = a.own_input ? static_cast<int32_t>(w.in) : 0;
    p.out_step = static_cast<int32_t>(w.out);
    p.ids = static_cast<const int32_t*>(ids.data);
    p.ids_stride = ids.stride;
    p.first_expert = a.first;
    p.choices = {ids, a.top_k, a.first, static_cast<int32_t>(w.count)};
    if (grouped) {
      start_grouped(p, o.scratch, stream_of(o));
    } else {
      start(p, a.top_k, o);
    }
  }
}

// The other rows, from `first` on, which go to `y`.
PromptProduct prompt_of(const LinearArgs&, const Operands& o, const TensorView& y, int64_t first) {
  return {.w = o.weights[0],
          .x = rows_between(o.reads[0], first, y.rows),
          .y = rows_between(y, first, y.rows),
          .rounded_in = o.rounded_in};
}
ExpertProduct prompt_of(const ExpertLinearArgs& a, const Operands& o, const TensorView& y, int64_t first) {
  return {.w = o.weights[0],
          .args = a,
          .x = rows_between(o.reads[0], first, y.rows),
          .ids = rows_between(o.reads[1], first, y.rows),
          .y = rows_between(y, first, y.rows),
          .rounded_in = o.rounded_in};
}

// In prompts the product's own result, which the activation alone reads, is left out. `choices` matrices a token.
template <typename A>
bool product_and_act(const A& args, int32_t choices, const Operands& a, const ActArgs& act, const Operands& b) {
  const TensorView &product = a.writes[0], &y = b.writes[0];
  const bool whole = product.data == b.reads[0].data && a.weights[0].out == 2 * int64_t{act.hidden} &&
                     y.cols == int64_t{choices} * act.hidden;
  if (!whole || !gates_prompt(args, a.weights[0], act)) return false;
  const int64_t others = y.rows - a.n_prompt;
  product_of_others(args, a, others);
  const TensorView in = rows_between(product, 0, others), out = rows_between(y, 0, others);
  Operands of_others = b;
  of_others.reads = &in;
  of_others.writes = &out;
  of_others.n_prompt = 0;
  run(act, of_others);
  auto gated = prompt_of(args, a, y, others);
  gated.rounded_out = b.rounded_out;
  product_prompt_gated(gated, act, a.scratch, stream_of(a));
  return true;
}

template <typename A>
void product(const A& args, const Operands& o) {
  const int64_t rows = o.writes[0].rows, others = fits_prompt(args, o.weights[0]) ? rows - o.n_prompt : rows;
  product_of_others(args, o, others);
  product_prompt(prompt_of(args, o, o.writes[0], others), o.scratch, stream_of(o));
}

}  // namespace

void run(const LinearArgs& a, const Operands& o) noexcept {
  product(a, o);
}

bool product_and_act(const Args& first, const Operands& a, const Args& second, const Operands& b) noexcept {
  const auto* act = std::get_if<ActArgs>(&second);
  if (act == nullptr || a.n_prompt == 0) return false;
  if (const auto* linear = std::get_if<LinearArgs>(&first)) return product_and_act(*linear, 1, a, *act, b);
  const auto* experts = std::get_if<ExpertLinearArgs>(&first);
  return experts != nullptr && product_and_act(*experts, experts->top_k, a, *act, b);
}

void run(const HeadLinearArgs& a, const Operands& o) noexcept {
  Product p = product_of(o);
  p.in_step = a.in_stride;
  p.out_step = a.out_stride;
  start(p, a.heads, o);
}

void run(const ExpertLinearArgs& a, const Operands& o) noexcept {
  product(a, o);
}

}  // namespace arc::cuda
