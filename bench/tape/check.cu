// Plain reference of each stage, one thread or block per element, sums in double.
#include <algorithm>
#include <cmath>
#include <cuda_bf16.h>
#include <map>
#include <stdexcept>

#include "check.h"
#include "cuda_check.h"
#include "generator.cuh"

namespace arc::tape {
namespace {

constexpr int kThreadsPerBlock = 128;
constexpr double kHalfUlpBf16 = 1.0 / 256, kUlpF32 = 1.0 / (1 << 23);

// ---- verdicts on the device
struct Tally {
  double worst_ratio, worst_error;
  unsigned long long n_compared, n_over, n_bad_tags;
};

__device__ void atomic_max(double* to, double value) {  // of values >= 0, whose bits are ordered as they are
  atomicMax(reinterpret_cast<unsigned long long*>(to), __double_as_longlong(value));
}

__device__ void compare(Tally* tally, double got, double want, double bound) {
  const double error = fabs(got - want), ratio = error / fmax(bound, 1e-30);
  atomicAdd(&tally->n_compared, 1ull);
  if (!(ratio <= 1)) atomicAdd(&tally->n_over, 1ull);
  atomic_max(&tally->worst_ratio, ratio == ratio ? ratio : 1e30);
  atomic_max(&tally->worst_error, error == error ? error : 1e30);
}

// ---- the kernel's buffers
__device__ double bf16_of(uint32_t word) {
  return __uint_as_float(word & 0xffff0000u);
}
__device__ double f32_of(uint64_t word) {
  return __uint_as_float(uint32_t(word));
}
__device__ double rounded(double v) {
  return __bfloat162float(__float2bfloat16(float(v)));
}

struct TaggedView {  // a buffer and the tag that its words must carry
  uint64_t address;
  uint32_t tag;
  Tally* tally;
  __device__ double word16(uint64_t i) const {
    const uint32_t w = reinterpret_cast<const uint32_t*>(address)[i];
    if ((w ^ tag) & 0xffff) atomicAdd(&tally->n_bad_tags, 1ull);
    return bf16_of(w);
  }
  __device__ double word32(uint64_t i) const {
    const uint64_t w = reinterpret_cast<const uint64_t*>(address)[i];
    if (uint32_t(w >> 32) != tag) atomicAdd(&tally->n_bad_tags, 1ull);
    return f32_of(w);
  }
};
__device__ float plain(uint64_t address, uint64_t i) {
  return reinterpret_cast<const float*>(address)[i];
}

template <class T>
__device__ T block_sum(T v) {
  __shared__ T part[kThreadsPerBlock / 32];
  for (int lanes = 16; lanes; lanes /= 2) v += __shfl_xor_sync(0xffffffffu, v, lanes);
  __syncthreads();
  if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = v;
  __syncthreads();
  T sum = 0;
  for (T p : part) sum += p;
  return sum;
}

// ---- product: one block per row
__global__ void multiply_row(TensorInfo t, TaggedView x, double* sums, double* bounds) {
  const uint64_t row = blockIdx.x;
  double sum = 0, size = 0;
  for (uint32_t c = threadIdx.x; c < t.n_columns; c += blockDim.x) {
    const double p = double(__bfloat162float(__float2bfloat16(generated(t.seed, row, c, t.amplitude)))) * x.word16(c);
    sum += p;
    size += fabs(p);
  }
  sum = block_sum(sum);
  size = block_sum(size);
  // A lane adds 32 products per slice, then come 5 additions over lanes and one per slice.
  const double n_additions = 40 + (t.n_columns + kTileColumns - 1) / kTileColumns;
  if (threadIdx.x == 0) {
    sums[row] = sum;
    bounds[row] = n_additions * kUlpF32 * size;
  }
}

__global__ void sum_squares(TaggedView squares, uint32_t n_sms, double* out) {
  double sum = 0;
  for (uint32_t i = 0; i < n_sms; ++i) sum += squares.word32(i);
  *out = sum;
}

struct RowCheck {
  TapeStage stage;
  TaggedView y;
  const double* sums;
  const double* bounds;
  const double* square_sum;  // null: no norm
  Tally *vector, *residual;
};

__global__ void check_rows(RowCheck c) {
  const uint32_t row = blockIdx.x * blockDim.x + threadIdx.x;
  const ProductArgs& args = c.stage.product;
  const double scale = c.square_sum ? 1 / sqrt(*c.square_sum / args.n_in + double(args.eps)) : 1;
  const auto value = [&](uint32_t r) { return c.sums[r] * scale; };
  const auto bound = [&](uint32_t r) { return c.bounds[r] * scale + 32 * kUlpF32 * fabs(value(r)); };
  const auto with_rounding = [](double v, double b) { return b + kHalfUlpBf16 * fabs(v); };
  if (args.epilogue == Epilogue::silu_mul) {
    if (row >= args.n_out / 2) return;
    const double gate = value(2 * row), up = value(2 * row + 1), silu = gate / (1 + exp(-gate));
    const double b = 1.1 * bound(2 * row) * fabs(up) + fabs(silu) * bound(2 * row + 1) + 64 * kUlpF32 * fabs(silu * up);
    compare(c.vector, c.y.word16(row), silu * up, with_rounding(silu * up, b));
    return;
  }
  if (row >= args.n_out) return;
  if (args.epilogue == Epilogue::store) {
    compare(c.vector, c.y.word16(row), value(row), with_rounding(value(row), bound(row)));
  } else if (args.epilogue == Epilogue::keep_best) {
    compare(c.vector, plain(c.y.address, row), value(row), bound(row));
  } else {
    const double r = plain(c.stage.reads[kResidual].address, row) + value(row);
    const double gain = plain(c.stage.weights[kNextNorm].address, row);
    const double b = bound(row) + kUlpF32 * fabs(r);
    compare(c.residual, plain(c.stage.writes[kResidual].address, row), r, b);
    compare(c.vector, c.y.word16(row), r * gain, with_rounding(r * gain, b * fabs(gain)));
  }
}

__global__ void check_embed(TapeStage stage, TensorInfo table, TaggedView x, int token, Tally* vector,
                            Tally* residual) {
  const uint32_t row = blockIdx.x * blockDim.x + threadIdx.x;
  if (row >= stage.product.n_out) return;
  const double r = rounded(generated(table.seed, token, row, table.amplitude));
  const double v = r * plain(stage.weights[kNextNorm].address, row);
  compare(residual, plain(stage.writes[kResidual].address, row), r, 0);
  compare(vector, x.word16(row), v, (kHalfUlpBf16 + kUlpF32) * fabs(v));
}

// The squares must be those of the residual that the kernel left.
__global__ void check_squares(TaggedView squares, uint64_t residual, uint32_t n, uint32_t n_sms, Tally* tally) {
  double want = 0, got = 0;
  for (uint32_t i = threadIdx.x; i < n; i += blockDim.x) {
    const double r = plain(residual, i);
    want += r * r;
  }
  for (uint32_t i = threadIdx.x; i < n_sms; i += blockDim.x) got += squares.word32(i);
  want = block_sum(want);
  got = block_sum(got);
  if (threadIdx.x == 0) compare(tally, got, want, 16 * kUlpF32 * want);
}

// ---- attention: one block of 128 threads per query head, thread = dim
struct Rotated {
  double value, slack;  // as rounded to bf16, and what rounding the other way would change
};

// What f32 may make of v: its bf16, and the distance to the neighbour when v is nearly half way.
__device__ Rotated round_with_slack(double v) {
  const double spread = 24 * kUlpF32 * fabs(v);
  return {rounded(v), fabs(rounded(v + spread) - rounded(v - spread))};
}

__device__ Rotated norm_and_rotate(double raw, uint64_t gains, uint64_t rope, uint32_t position, float eps) {
  __shared__ double normed[kHeadDim];
  const uint32_t d = threadIdx.x;
  const double scale = 1 / sqrt(block_sum(raw * raw) / kHeadDim + double(eps));
  normed[d] = raw * scale * plain(gains, d);
  __syncthreads();
  const double cosine = plain(rope, position * kHeadDim + d % 64 * 2);
  const double sine = plain(rope, position * kHeadDim + d % 64 * 2 + 1);
  const double v = normed[d] * cosine + (d < 64 ? -normed[d + 64] : normed[d - 64]) * sine;
  // The slack covers the rounding of both terms.
  const double terms = fabs(normed[d] * cosine) + fabs((d < 64 ? normed[d + 64] : normed[d - 64]) * sine);
  __syncthreads();
  const Rotated near = round_with_slack(v);
  const double spread = 24 * kUlpF32 * terms;
  return {near.value, fmax(near.slack, fabs(rounded(v + spread) - rounded(v - spread)))};
}

struct CacheView {
  IndexedRef ref;
  uint32_t block_tokens;
  __device__ double at(uint32_t token, uint32_t head, uint32_t d, bool is_value) const {
    const uint32_t block = reinterpret_cast<const uint32_t*>(ref.table)[token / block_tokens];
    const uint32_t row = token % kGranuleTokens;
    const auto* tile = reinterpret_cast<const __nv_bfloat16*>(
        ref.address + uint64_t(block) * ref.block_bytes + uint64_t(head) * ref.head_bytes +
        uint64_t(token % block_tokens / kGranuleTokens) * kTileBytes);
    const uint32_t in_row = ((d / 8) ^ (row % 8)) * 8 + d % 8;
    return __bfloat162float(tile[(is_value ? kGranuleTokens * kHeadDim : 0) + row * kHeadDim + in_row]);
  }
};

struct AttendCheck {
  TapeStage stage;
  TaggedView qkv, attended;
  uint32_t position;
  double* scratch;  // [H][position + 1]
  Tally *vector, *cache;
};

__global__ void check_attend(AttendCheck c) {
  __shared__ Rotated query[kHeadDim], key[kHeadDim];
  const AttendArgs& a = c.stage.attend;
  const uint32_t head = blockIdx.x, d = threadIdx.x, kv_head = head / (a.n_heads / a.n_kv_heads), n = c.position + 1;
  const CacheView cache{c.stage.cache, a.block_tokens};
  const uint64_t rope = c.stage.weights[kRope].address;
  query[d] =
      norm_and_rotate(c.qkv.word16(head * kHeadDim + d), c.stage.weights[kQNorm].address, rope, c.position, a.eps);
  key[d] = norm_and_rotate(c.qkv.word16((a.n_heads + kv_head) * kHeadDim + d), c.stage.weights[kKNorm].address, rope,
                           c.position, a.eps);
  const double value = c.qkv.word16((a.n_heads + a.n_kv_heads + kv_head) * kHeadDim + d);
  __syncthreads();
  if (head % (a.n_heads / a.n_kv_heads) == 0) {
    compare(c.cache, cache.at(c.position, kv_head, d, false), key[d].value, key[d].slack);
    compare(c.cache, cache.at(c.position, kv_head, d, true), value, 0);
  }
  double* scores = c.scratch + uint64_t(head) * n;
  double worst_score_error = 0;
  for (uint32_t t = d; t < n; t += blockDim.x) {
    double s = 0, error = 0;
    for (uint32_t i = 0; i < kHeadDim; ++i) {
      const bool is_new = t == c.position;
      const double k = is_new ? key[i].value : cache.at(t, kv_head, i, false), k_slack = is_new ? key[i].slack : 0;
      s += query[i].value * k;
      error +=
          query[i].slack * fabs(k) + fabs(query[i].value) * k_slack + kHeadDim * kUlpF32 * fabs(query[i].value * k);
    }
    scores[t] = s / sqrt(double(kHeadDim));
    worst_score_error = fmax(worst_score_error, error / sqrt(double(kHeadDim)));
  }
  __shared__ double worst;
  if (d == 0) worst = 0;
  __syncthreads();
  atomic_max(&worst, worst_score_error);
  __syncthreads();
  double largest = -INFINITY, total = 0, out = 0, size = 0;
  for (uint32_t t = 0; t < n; ++t) largest = fmax(largest, scores[t]);
  for (uint32_t t = 0; t < n; ++t) {
    const double p = exp(scores[t] - largest), v = t == c.position ? value : cache.at(t, kv_head, d, true);
    total += p;
    out += p * v;
    size += p * fabs(v);
  }
  out /= total;
  size /= total;
  // Weights are rounded to bf16 before they meet the values; a wrong score moves its weight above and below the line.
  const double bound = size * (2 * worst + kHalfUlpBf16 + 256 * kUlpF32) + kHalfUlpBf16 * fabs(out);
  compare(c.vector, c.attended.word16(head * kHeadDim + d), out, bound);
}

// ---- the walk
class Checker {
 public:
  Checker(const Machine& machine, int token) : machine_(machine), token_(token), state_(machine.state()) {
    const Shape& s = machine.tape().shape;
    const size_t n_rows = std::max({2 * s.ffn, s.vocab, (s.n_heads + 2 * s.n_kv_heads) * kHeadDim, s.dim});
    ARC_CUDA(cudaMalloc(&sums_, n_rows * sizeof(double)));
    ARC_CUDA(cudaMalloc(&bounds_, n_rows * sizeof(double)));
    ARC_CUDA(cudaMalloc(&square_sum_, sizeof(double)));
    ARC_CUDA(cudaMalloc(&scratch_, uint64_t(s.n_heads) * state_.position * sizeof(double)));
  }
  ~Checker() {
    for (void* p : {sums_, bounds_, square_sum_, scratch_}) ARC_CUDA(cudaFree(p));
    for (auto& [name, tally] : tallies_) ARC_CUDA(cudaFree(tally));
  }
  Checker(const Checker&) = delete;
  Checker& operator=(const Checker&) = delete;

  std::vector<Verdict> run() {
    for (const TapeStage& stage : machine_.tape().stages) {
      if (stage.op == Op::embed) check_opening(stage);
      if (stage.op == Op::product) check_product(stage);
      if (stage.op == Op::attend) check_attention(stage);
      ARC_CUDA(cudaGetLastError());
    }
    std::vector<Verdict> verdicts;
    for (auto& [name, tally] : tallies_) {
      Tally t;
      ARC_CUDA(cudaMemcpy(&t, tally, sizeof t, cudaMemcpyDeviceToHost));
      verdicts.push_back({name, t.worst_ratio, t.worst_error, t.n_compared, t.n_over, t.n_bad_tags});
    }
    return verdicts;
  }

 private:
  uint32_t step() const { return uint32_t(state_.step) - 1; }
  TaggedView view(const BufferRef& ref, Tally* tally) const {
    return {ref.address, step() * ref.per_step + ref.version, tally};
  }
  Tally* tally(const char* name) {
    Tally*& t = tallies_[name];
    if (!t) {
      ARC_CUDA(cudaMalloc(&t, sizeof(Tally)));
      ARC_CUDA(cudaMemset(t, 0, sizeof(Tally)));
    }
    return t;
  }
  const TensorInfo& tensor(const StaticRef& ref) const {
    for (const TensorInfo& t : machine_.tape().tensors)
      if (t.address == ref.address) return t;
    throw std::logic_error("a stage reads a tensor that is not in the tape's list");
  }
  static uint32_t blocks(uint32_t n) { return (n + kThreadsPerBlock - 1) / kThreadsPerBlock; }

  void check_sums_of_squares(const TapeStage& stage) {
    check_squares<<<1, kThreadsPerBlock>>>(view(stage.writes[kSquares], tally("squares")),
                                           stage.writes[kResidual].address, stage.product.n_out,
                                           machine_.tape().options.n_sms, tally("squares"));
  }

  void check_opening(const TapeStage& stage) {
    check_embed<<<blocks(stage.product.n_out), kThreadsPerBlock>>>(stage, tensor(stage.weights[kMatrix]),
                                                                   view(stage.writes[kVector], tally("embed")), token_,
                                                                   tally("embed"), tally("residual"));
    check_sums_of_squares(stage);
  }

  void check_product(const TapeStage& stage) {
    static constexpr const char* kNames[] = {"qkv", "x (o, down)", "h (gate_up)", "logits"};
    const ProductArgs& args = stage.product;
    Tally* vector = tally(kNames[int(args.epilogue)]);
    multiply_row<<<args.n_out, kThreadsPerBlock>>>(tensor(stage.weights[kMatrix]), view(stage.reads[kVector], vector),
                                                   sums_, bounds_);
    const bool has_norm = stage.reads[kSquares].address != 0;
    if (has_norm)
      sum_squares<<<1, 1>>>(view(stage.reads[kSquares], vector), machine_.tape().options.n_sms, square_sum_);
    check_rows<<<blocks(args.n_out), kThreadsPerBlock>>>({.stage = stage,
                                                          .y = view(stage.writes[kVector], vector),
                                                          .sums = sums_,
                                                          .bounds = bounds_,
                                                          .square_sum = has_norm ? square_sum_ : nullptr,
                                                          .vector = vector,
                                                          .residual = tally("residual")});
    if (args.epilogue == Epilogue::add_residual) check_sums_of_squares(stage);
  }

  void check_attention(const TapeStage& stage) {
    Tally* vector = tally("attended");
    check_attend<<<stage.attend.n_heads, kThreadsPerBlock>>>({.stage = stage,
                                                              .qkv = view(stage.reads[kVector], vector),
                                                              .attended = view(stage.writes[kVector], vector),
                                                              .position = uint32_t(state_.position) - 1,
                                                              .scratch = scratch_,
                                                              .vector = vector,
                                                              .cache = tally("appended k, v")});
  }

  const Machine& machine_;
  int token_ = 0;
  StepState state_;
  double *sums_ = nullptr, *bounds_ = nullptr, *square_sum_ = nullptr, *scratch_ = nullptr;
  std::map<std::string, Tally*> tallies_;
};

}  // namespace

std::vector<Verdict> check_last_step(const Machine& machine, int token) {
  return Checker(machine, token).run();
}

}  // namespace arc::tape
