// Products of a prompt's tokens with one matrix, rounded to bf16. Block codes become bf16 beforehand, some rows at a
// time.
#include <algorithm>

#include "kernels/cuda/attention_mma.h"
#include "kernels/cuda/cuda_kernels.h"
#include "kernels/cuda/product_experts.h"
#include "kernels/cuda/product_prompt.cuh"
#include "kernels/cuda/product_prompt.h"
#include "kernels/cuda/scratch.h"

namespace arc::cuda {
namespace {

using namespace prompt_product;

constexpr int kGroupTokens = 2048;  // whose tiles are dealt out before the next ones'

// Neighbours in time and across blocks share weights, and groups of tokens stay in the cache.
class TokenDeal {
 public:
  using Call = prompt_product::Call;

  __device__ TokenDeal(const Call& c, int columns) : c_(c), columns_(columns) {
    token_tiles_ = static_cast<int>((c.y.rows + kTokens - 1) / kTokens);
    row_tiles_ = static_cast<int>((c.out + columns - 1) / columns);
    group_ = min(token_tiles_, kGroupTokens / kTokens);
    unit_ = static_cast<int>(blockIdx.x);
    look_up();
  }
  __device__ bool done() const { return unit_ >= token_tiles_ * row_tiles_; }
  __device__ void next() {
    unit_ += static_cast<int>(gridDim.x);
    look_up();
  }
  __device__ int token() const { return token_; }
  __device__ int n_tokens() const { return static_cast<int>(c_.y.rows) - token_; }
  __device__ int row() const { return row_; }
  __device__ int matrix_row() const { return 0; }
  __device__ Target target(int i) const { return {c_.y.row(token_ + i), 0}; }

 private:
  __device__ void look_up() {
    const int whole = unit_ / (group_ * row_tiles_), first = whole * group_, within = unit_ - first * row_tiles_;
    const int size = min(group_, token_tiles_ - first);
    if (size <= 0) return;  // done
    token_ = (first + within % size) * kTokens;
    row_ = within / size * columns_;
  }
  const Call& c_;
  int columns_, token_tiles_, row_tiles_, group_, unit_;
  int token_ = 0, row_ = 0;
};

// Rounds tokens. grid: (eights of columns, T).
constexpr int kRounders = 256;
__global__ void __launch_bounds__(kRounders) round_kernel(Rows x, __nv_bfloat16* to, int64_t in) {
  const int64_t k = (static_cast<int64_t>(blockIdx.x) * kRounders + threadIdx.x) * 8, t = blockIdx.y;
  if (k >= in) return;
  *reinterpret_cast<uint4*>(to + t * in + k) = round8(x.row(t) + k);
}

// Rounds rows of weights. grid: (eights of columns, rows).
constexpr int64_t kMaxDecodedRows = 32768;
template <BlockCode kCode>
__global__ void __launch_bounds__(kRounders)
    decode_kernel(const uint8_t* rows, int64_t row_bytes, int64_t in, __nv_bfloat16* to) {
  const int64_t k = (static_cast<int64_t>(blockIdx.x) * kRounders + threadIdx.x) * 8, r = blockIdx.y;
  if (k >= in) return;
  float v[8];
  decode8<kCode>(rows + r * row_bytes, k, v);
  *reinterpret_cast<uint4*>(to + r * in + k) = round8(v);
}

auto decoder(BlockCode code) {
  switch (code) {
    case BlockCode::q8_0:
      return decode_kernel<BlockCode::q8_0>;
    case BlockCode::q4_0:
      return decode_kernel<BlockCode::q4_0>;
    case BlockCode::q4_k:
      return decode_kernel<BlockCode::q4_k>;
    case BlockCode::q5_k:
      return decode_kernel<BlockCode::q5_k>;
    default:
      return decode_kernel<BlockCode::q6_k>;
  }
}

template <int kRows, int kStages, Gate kGate>
void start(const MatrixView& w, const Matrix& x, const Out& to, cudaStream_t stream) {
  const Call c = call_of<kRows, kGate>(w, x, to);
  const int units = blocks_for(to.y.rows, kTokens) * blocks_for(c.out, kColumnsOf<kRows, kGate>);
  launch<TokenDeal, kRows, kStages, kGate>(c, units, stream);
}

template <Gate kGate>
void product(const MatrixView& w, const Matrix& x, const Out& to, cudaStream_t stream) {
  const int wide = blocks_for(x.rows, kTokens) * blocks_for(w.out, 256);
  if (2 * wide > n_processors()) {
    start<256, 4, kGate>(w, x, to, stream);
  } else {
    start<128, 6, kGate>(w, x, to, stream);
  }
}

// The same for weights in a block code: as many columns of y at a time as rows find place at `plain`.
template <Gate kGate>
void coded_product(const MatrixView& w, const Matrix& x, const Out& to, __nv_bfloat16* plain, cudaStream_t stream) {
  constexpr int kHalves = kGate == Gate::none ? 1 : 2;
  const int64_t row_bytes = format_bytes(w.format, 1, w.in), out = w.out / kHalves;
  const int64_t at_once = std::min(kMaxPartsBytes / (w.in * 2 * kHalves) / 256 * 256, kMaxDecodedRows);
  for (int64_t first = 0; first < out; first += at_once) {
    const int64_t n = std::min(at_once, out - first);
    MatrixView part{.format = WeightFormat::plain(DType::bf16), .out = n * kHalves, .in = w.in, .data = plain};
    if (w.bias != nullptr) part.bias = w.bias + first;
    const dim3 eights(static_cast<unsigned>(blocks_for(w.in, kRounders * 8)), static_cast<unsigned>(n));
    for (int half = 0; half < kHalves; ++half) {
      const auto* rows = static_cast<const uint8_t*>(w.data) + (half * out + first) * row_bytes;
      decoder(w.format.code)<<<eights, kRounders, 0, stream>>>(rows, row_bytes, w.in, plain + half * n * w.in);
    }
    Out columns = to;
    columns.y.data = static_cast<std::byte*>(to.y.data) + first * (to.rounded ? 2 : 4);
    product<kGate>(part, x, columns, stream);
  }
}

template <Gate kGate>
void product(const PromptProduct& p, std::byte* scratch, cudaStream_t stream) {
  const MatrixView& w = p.w;
  const auto some = [&](const Matrix& x, const Out& to) {
    if (w.format.code == BlockCode::none) return product<kGate>(w, x, to, stream);
    coded_product<kGate>(w, x, to, reinterpret_cast<__nv_bfloat16*>(scratch + kMaxPartsBytes), stream);
  };
  if (p.rounded_in) {
    return some({p.x.data, p.x.rows, w.in, 2 * p.x.row_stride}, {Rows(p.y), p.rounded_out});
  }
  auto* rounded = reinterpret_cast<__nv_bfloat16*>(scratch);
  const int64_t at_once = kMaxPartsBytes / (w.in * 2) / kTokens * kTokens;
  for (int64_t t = 0; t < p.x.rows; t += at_once) {
    Rows from(p.x);
    Out to{Rows(p.y), p.rounded_out};
    from.data = p.x.row<float>(t), to.y.data = p.y.row<float>(t);
    from.rows = to.y.rows = std::min(at_once, p.x.rows - t);
    const dim3 eights(static_cast<unsigned>(blocks_for(w.in, kRounders * 8)), static_cast<unsigned>(from.rows));
    round_kernel<<<eights, kRounders, 0, stream>>>(from, rounded, w.in);
    some({rounded, from.rows, w.in, w.in}, to);
  }
}

bool takes_rounded(const TensorView& view) {
  return reinterpret_cast<uintptr_t>(view.data) % 16 == 0 && view.row_stride % 4 == 0;
}

}  // namespace

bool fits_prompt(const LinearArgs&, const MatrixView& w) {
  const bool format = w.format.code != BlockCode::none || w.format == WeightFormat::plain(DType::bf16);
  return format && w.count == 1 && w.in <= (1 << 16) && w.in % 8 == 0 && is_hopper();
}

void product_prompt(const PromptProduct& p, std::byte* scratch, cudaStream_t stream) {
  if (p.x.rows > 0) product<Gate::none>(p, scratch, stream);
}

bool gates_prompt(const LinearArgs& a, const MatrixView& w, const ActArgs& act) {
  return fits_prompt(a, w) && act.gated && (act.act == Act::silu || act.act == Act::gelu_tanh) &&
         (w.format.code == BlockCode::none || w.bias == nullptr);
}

void product_prompt_gated(const PromptProduct& p, const ActArgs& act, std::byte* scratch, cudaStream_t stream) {
  if (act.act == Act::silu) return product<Gate::silu>(p, scratch, stream);
  product<Gate::gelu_tanh>(p, scratch, stream);
}

bool passes_rounded(const Args& from, const Operands& a, const Args& to, const Operands& b) {
  const bool writes = std::holds_alternative<NormArgs>(from) || std::holds_alternative<ActArgs>(from) ||
                      (std::holds_alternative<AttendArgs>(from) && attends_prompts(std::get<AttendArgs>(from), a));
  const auto* norm = std::get_if<NormArgs>(&from);
  const bool whole = norm == nullptr || norm->cols == a.writes[0].cols;
  const auto* linear = std::get_if<LinearArgs>(&to);
  const auto* experts = std::get_if<ExpertLinearArgs>(&to);
  const bool fits = (linear != nullptr && fits_prompt(*linear, b.weights[0])) ||
                    (experts != nullptr && fits_prompt(*experts, b.weights[0]));
  return writes && whole && fits && takes_rounded(b.reads[0]);
}

}  // namespace arc::cuda
