// Products of prompts' tokens with their experts: rows in the order of experts, rounded and side by side, so that each
// expert's are one matrix; its tiles as in product_prompt.cuh, and their sums back to [token, choice].
#include <algorithm>

#include "kernels/cuda/expert_groups.cuh"
#include "kernels/cuda/product_experts.h"
#include "kernels/cuda/product_prompt.cuh"
#include "kernels/cuda/scratch.h"

namespace arc::cuda {
namespace {

using namespace prompt_product;

struct ExpertCall : Call {
  ExpertGroups groups;
  int32_t top_k = 0;
  int32_t matrix_rows = 0;  // of w
};

// Expert after expert: an expert's tiles of tokens share its weights, all of them its tokens.
class ExpertDeal {
 public:
  using Call = ExpertCall;

  __device__ ExpertDeal(const Call& c, int columns) : c_(c), columns_(columns) {
    row_tiles_ = static_cast<int>((c.out + columns - 1) / columns);
    units_ = c.groups.totals->tiles * row_tiles_;
    unit_ = static_cast<int>(blockIdx.x);
    look_up();
  }
  __device__ bool done() const { return unit_ >= units_; }
  __device__ void next() {
    unit_ += static_cast<int>(gridDim.x);
    look_up();
  }
  __device__ int token() const { return token_; }
  __device__ int n_tokens() const { return n_tokens_; }
  __device__ int row() const { return row_; }
  __device__ int matrix_row() const { return matrix_row_; }
  __device__ Target target(int i) const {
    const int pair = c_.groups.pairs[token_ + i], token = pair / c_.top_k;
    return {c_.y.row(token), (pair - token * c_.top_k) * c_.out};
  }

 private:
  __device__ void look_up() {
    if (done()) return;
    const ExpertTile tile = c_.groups.tiles[unit_ / row_tiles_];
    const int n_tiles = (tile.n_rows + kTokens - 1) / kTokens, within = unit_ - tile.first_tile * row_tiles_;
    const int before = within % n_tiles * kTokens;
    token_ = tile.first_row + before;
    n_tokens_ = tile.n_rows - before;
    row_ = within / n_tiles * columns_;
    matrix_row_ = tile.expert * c_.matrix_rows;
  }
  const Call& c_;
  int columns_, row_tiles_, units_, unit_;
  int token_ = 0, n_tokens_ = 0, row_ = 0, matrix_row_ = 0;
};

// Rows of x, to be put in the order of experts.
struct Gather {
  Rows x, y;
  ExpertGroups groups;
  __nv_bfloat16* to = nullptr;  // [pairs, in]
  int64_t in = 0, out = 0;      // columns of a matrix: of x and y
  int32_t top_k = 0;
  bool own_input = false, rounded_in = false, rounded_out = false;

  // Eight neighbours of a choice's row.
  __device__ __forceinline__ uint4 eight(int64_t t, int choice, int64_t k) const {
    const int64_t at = (own_input ? choice * in : 0) + k;
    if (rounded_in) return *reinterpret_cast<const uint4*>(x.row<__nv_bfloat16>(2 * t) + at);
    return round8(x.row(t) + at);
  }
  // What an expert elsewhere gives.
  __device__ __forceinline__ void clear(int64_t t, int choice) const {
    for (int64_t r = threadIdx.x; r < out; r += blockDim.x) {
      if (rounded_out) {
        y.row<__nv_bfloat16>(2 * t)[choice * out + r] = __float2bfloat16(0.0f);
      } else {
        y.row(t)[choice * out + r] = 0.0f;
      }
    }
  }
};

// grid: (T, eights of columns).
constexpr int kGatherers = 128;
__global__ void __launch_bounds__(kGatherers) gather_kernel(const __grid_constant__ Gather c) {
  const int64_t t = blockIdx.x, k = (static_cast<int64_t>(blockIdx.y) * kGatherers + threadIdx.x) * 8;
  const bool real = k < c.in;
  const int32_t n_rows = c.groups.totals->rows;
  uint4 eight{};
  if (real && !c.own_input) eight = c.eight(t, 0, k);
  for (int j = 0; j < c.top_k; ++j) {
    const int32_t row = c.groups.rows[t * c.top_k + j];
    if (row >= n_rows) {
      if (blockIdx.y == 0) c.clear(t, j);
    } else if (real) {
      if (c.own_input) eight = c.eight(t, j, k);
      *reinterpret_cast<uint4*>(c.to + row * c.in + k) = eight;
    }
  }
}

template <int kRows, int kStages, Gate kGate>
void start(const ExpertProduct& p, const ExpertGroups& groups, const Matrix& x, const Rows& y, cudaStream_t stream) {
  ExpertCall c{call_of<kRows, kGate>(p.w, x, {y, p.rounded_out})};
  c.groups = groups;
  c.top_k = p.args.top_k;
  c.matrix_rows = static_cast<int32_t>(p.w.out);
  const int64_t units = max_expert_tiles(x.rows, p.w.count, kTokens) * blocks_for(c.out, kColumnsOf<kRows, kGate>);
  launch<ExpertDeal, kRows, kStages, kGate>(c, units, stream);
}

// `n` tokens from `first` on.
template <Gate kGate>
void some(const ExpertProduct& p, int64_t first, int64_t n, std::byte* scratch, cudaStream_t stream) {
  const auto part = [&](const TensorView& view) {
    Rows rows(view);
    rows.data = const_cast<float*>(view.row<float>(first));
    rows.rows = n;
    return rows;
  };
  const ExpertChoices choices{part(p.ids), p.args.top_k, p.args.first, static_cast<int32_t>(p.w.count)};
  const ExpertGroups groups = group_by_expert(choices, kTokens, scratch, stream);
  auto* rounded = reinterpret_cast<__nv_bfloat16*>(scratch + kExpertGroupsBytes);
  const Rows y = part(p.y);
  const Gather gather{.x = part(p.x),
                      .y = y,
                      .groups = groups,
                      .to = rounded,
                      .in = p.w.in,
                      .out = kGate == Gate::none ? p.w.out : p.w.out / 2,
                      .top_k = p.args.top_k,
                      .own_input = p.args.own_input,
                      .rounded_in = p.rounded_in,
                      .rounded_out = p.rounded_out};
  const dim3 eights(static_cast<unsigned>(n), static_cast<unsigned>(blocks_for(p.w.in, kGatherers * 8)));
  gather_kernel<<<eights, kGatherers, 0, stream>>>(gather);
  const Matrix x{rounded, choices.n_pairs(), p.w.in, p.w.in};
  const int64_t tiles = std::max(x.rows / kTokens, std::min(x.rows, p.w.count));
  if (2 * tiles * blocks_for(p.w.out, 256) > n_processors()) {
    start<256, 4, kGate>(p, groups, x, y, stream);
  } else {
    start<128, 6, kGate>(p, groups, x, y, stream);
  }
}

// Tokens at once: what their rows, and their choices, find place for.
static_assert(kExpertGroupsBytes < kPromptBytes);
int64_t tokens_at_once(const ExpertLinearArgs& a, const MatrixView& w) {
  return std::min((kPromptBytes - kExpertGroupsBytes) / (a.top_k * w.in * 2), kMaxPairs / a.top_k);
}

// As many tokens in each part: every part reads the weights.
template <Gate kGate>
void product(const ExpertProduct& p, std::byte* scratch, cudaStream_t stream) {
  const int64_t n = p.x.rows, parts = blocks_for(n, tokens_at_once(p.args, p.w));
  for (int64_t i = 0; i < parts; ++i) {
    const int64_t first = i * n / parts, end = (i + 1) * n / parts;
    some<kGate>(p, first, end - first, scratch, stream);
  }
}

}  // namespace

bool fits_prompt(const ExpertLinearArgs& a, const MatrixView& w) {
  return w.format == WeightFormat::plain(DType::bf16) && w.in % 8 == 0 && w.in <= (1 << 16) && w.count <= kMaxExperts &&
         w.count * w.out <= INT32_MAX && tokens_at_once(a, w) > 0 && is_hopper();
}

void product_prompt(const ExpertProduct& p, std::byte* scratch, cudaStream_t stream) {
  product<Gate::none>(p, scratch, stream);
}

bool gates_prompt(const ExpertLinearArgs& a, const MatrixView& w, const ActArgs& act) {
  return fits_prompt(a, w) && act.gated && (act.act == Act::silu || act.act == Act::gelu_tanh);
}

void product_prompt_gated(const ExpertProduct& p, const ActArgs& act, std::byte* scratch, cudaStream_t stream) {
  if (act.act == Act::silu) return product<Gate::silu>(p, scratch, stream);
  product<Gate::gelu_tanh>(p, scratch, stream);
}

}  // namespace arc::cuda
