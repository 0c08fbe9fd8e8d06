// Memory of a tape on the device, and its launches.
#include <algorithm>
#include <cuda_bf16.h>
#include <numeric>
#include <random>

#include "cuda_check.h"
#include "generator.cuh"
#include "machine.h"

namespace arc::tape {
namespace {

constexpr int kBlocks = 2048, kBlockThreads = 256;
constexpr uint32_t kCacheSeed = 1u << 30;

__device__ uint64_t first_index() {
  return uint64_t(blockIdx.x) * blockDim.x + threadIdx.x;
}
__device__ uint64_t index_step() {
  return uint64_t(gridDim.x) * blockDim.x;
}

// Tile order: [slice][group][row of 8][column of the slice].
__global__ void fill_packed(TensorInfo t, uint64_t n_groups) {
  auto* out = reinterpret_cast<__nv_bfloat16*>(t.address);
  for (uint64_t i = first_index(); i < n_groups * kTileRows * t.n_columns; i += index_step()) {
    const uint64_t slice = i / (n_groups * kTileRows * kTileColumns);
    const uint64_t in_slice = i - slice * n_groups * kTileRows * kTileColumns;
    const uint64_t width = min(uint64_t(kTileColumns), t.n_columns - slice * kTileColumns);
    const uint64_t row = in_slice / width, column = slice * kTileColumns + in_slice % width;
    out[i] = __float2bfloat16(row < t.n_rows ? generated(t.seed, row, column, t.amplitude) : 0.0f);
  }
}

__global__ void fill_rows(TensorInfo t) {
  auto* out = reinterpret_cast<__nv_bfloat16*>(t.address);
  for (uint64_t i = first_index(); i < uint64_t(t.n_rows) * t.n_columns; i += index_step())
    out[i] = __float2bfloat16(generated(t.seed, i / t.n_columns, i % t.n_columns, t.amplitude));
}

__global__ void fill_gains(TensorInfo t) {
  for (uint64_t i = first_index(); i < t.n_columns; i += index_step())
    reinterpret_cast<float*>(t.address)[i] = 1.0f + generated(t.seed, 0, i, t.amplitude);
}

__global__ void fill_rope(TensorInfo t) {
  for (uint64_t i = first_index(); i < uint64_t(t.n_rows) * t.n_columns; i += index_step()) {
    const double angle = double(i / t.n_columns) * pow(double(t.amplitude), -double(i % t.n_columns) / t.n_columns);
    reinterpret_cast<float2*>(t.address)[i] = make_float2(float(cos(angle)), float(sin(angle)));
  }
}

// Values for all tokens before n_tokens; which token a byte belongs to follows from the block table.
__global__ void fill_cache(IndexedRef cache, uint32_t n_kv_heads, uint32_t block_tokens, uint32_t n_tokens,
                           uint32_t seed) {
  const uint64_t per_token = uint64_t(n_kv_heads) * 2 * kHeadDim;
  for (uint64_t i = first_index(); i < n_tokens * per_token; i += index_step()) {
    const uint32_t token = i / per_token, head = i % per_token / (2 * kHeadDim), d = i % (2 * kHeadDim);
    const uint32_t block = reinterpret_cast<const uint32_t*>(cache.table)[token / block_tokens];
    const uint32_t row = token % kGranuleTokens, granule = token % block_tokens / kGranuleTokens;
    auto* tile = reinterpret_cast<__nv_bfloat16*>(cache.address + uint64_t(block) * cache.block_bytes +
                                                  uint64_t(head) * cache.head_bytes + uint64_t(granule) * kTileBytes);
    const uint32_t side = d / kHeadDim * kGranuleTokens * kHeadDim, in_row = d % kHeadDim;
    tile[side + row * kHeadDim + ((in_row / 8) ^ (row % 8)) * 8 + in_row % 8] =
        __float2bfloat16(generated(seed, token, head * 2 * kHeadDim + d, 1.73f));
  }
}

uint64_t allocate(uint64_t size_bytes) {
  void* p = nullptr;
  ARC_CUDA(cudaMalloc(&p, size_bytes));
  return reinterpret_cast<uint64_t>(p);
}

template <class T>
T* upload(const std::vector<T>& values) {
  T* p = reinterpret_cast<T*>(allocate(values.size() * sizeof(T)));
  ARC_CUDA(cudaMemcpy(p, values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice));
  return p;
}

}  // namespace

Machine::Machine(const Shape& shape, BuildOptions options) {
  const Slabs sizes = build_tape(shape, options, {}).slab_bytes;
  slabs_ = {allocate(sizes.weights), allocate(sizes.cache), allocate(sizes.buffers)};
  tape_ = build_tape(shape, options, slabs_);
  stages_ = upload(tape_.stages);
  deals_ = upload(tape_.deals);
  state_ = reinterpret_cast<StepState*>(allocate(sizeof(StepState)));
  block_table_.resize(options.max_tokens / options.block_tokens);
  std::iota(block_table_.begin(), block_table_.end(), 0);
  std::shuffle(block_table_.begin(), block_table_.end(), std::mt19937(7));
  void* host = nullptr;
  ARC_CUDA(cudaHostAlloc(&host, sizeof(int), cudaHostAllocMapped));
  attention_ = static_cast<volatile int*>(host);
  *attention_ = 0;
  ARC_CUDA(cudaHostAlloc(&host, kRing * sizeof(int32_t), cudaHostAllocMapped));
  tokens_ = static_cast<volatile int32_t*>(host);
  ARC_CUDA(cudaEventCreate(&begin_));
  ARC_CUDA(cudaEventCreate(&end_));
  fill_tensors();
}

Machine::~Machine() {
  for (uint64_t p : {slabs_.weights, slabs_.cache, slabs_.buffers}) ARC_CUDA(cudaFree(reinterpret_cast<void*>(p)));
  ARC_CUDA(cudaFree(stages_));
  ARC_CUDA(cudaFree(deals_));
  ARC_CUDA(cudaFree(state_));
  ARC_CUDA(cudaFreeHost(const_cast<int*>(attention_)));
  ARC_CUDA(cudaFreeHost(const_cast<int32_t*>(tokens_)));
  ARC_CUDA(cudaEventDestroy(begin_));
  ARC_CUDA(cudaEventDestroy(end_));
}

void Machine::fill_tensors() {
  for (const TensorInfo& t : tape_.tensors) {
    switch (t.kind) {
      case TensorInfo::Kind::packed:
        fill_packed<<<kBlocks, kBlockThreads>>>(t, (t.n_rows + kTileRows - 1) / kTileRows);
        break;
      case TensorInfo::Kind::rows:
        fill_rows<<<kBlocks, kBlockThreads>>>(t);
        break;
      case TensorInfo::Kind::gains:
        fill_gains<<<kBlocks, kBlockThreads>>>(t);
        break;
      case TensorInfo::Kind::rope:
        fill_rope<<<kBlocks, kBlockThreads>>>(t);
        break;
    }
    ARC_CUDA(cudaGetLastError());
  }
  ARC_CUDA(cudaDeviceSynchronize());
}

void Machine::reset(int token, int position) {
  ARC_CUDA(cudaMemset(reinterpret_cast<void*>(slabs_.buffers), 0xff, tape_.slab_bytes.buffers));
  ARC_CUDA(cudaMemset(reinterpret_cast<void*>(slabs_.cache), 0xff, tape_.slab_bytes.cache));
  ARC_CUDA(cudaMemcpy(reinterpret_cast<void*>(tape_.block_table), block_table_.data(), block_table_.size() * 4,
                      cudaMemcpyHostToDevice));
  for (const TapeStage& stage : tape_.stages) {
    if (stage.op != Op::attend) continue;
    fill_cache<<<kBlocks, kBlockThreads>>>(stage.cache, stage.attend.n_kv_heads, stage.attend.block_tokens,
                                           uint32_t(position), kCacheSeed + stage.layer);
    ARC_CUDA(cudaGetLastError());
  }
  const StepState state{.token = token, .position = position, .step = 0};
  ARC_CUDA(cudaMemcpy(state_, &state, sizeof state, cudaMemcpyHostToDevice));
  for (int i = 0; i < kRing; ++i) tokens_[i] = -1;
  ARC_CUDA(cudaDeviceSynchronize());
}

LaunchArgs Machine::launch_args(int n_steps) const {
  return {.stages = stages_,
          .deals = deals_,
          .n_stages = uint32_t(tape_.stages.size()),
          .n_attends = tape_.n_attends,
          .n_steps = uint32_t(n_steps),
          .vocab = tape_.shape.vocab,
          .state = state_,
          .attention = attention_,
          .tokens = tokens_,
          .n_ring = kRing,
          .probe = {}};
}

float Machine::timed(const LaunchArgs& args, bool probe) {
  ARC_CUDA(cudaEventRecord(begin_));
  ARC_CUDA(launch_tape(args, tape_.options.n_sms, probe, nullptr));
  ARC_CUDA(cudaEventRecord(end_));
  ARC_CUDA(cudaEventSynchronize(end_));
  float ms = 0;
  ARC_CUDA(cudaEventElapsedTime(&ms, begin_, end_));
  return ms;
}

float Machine::run(int n_steps) {
  return timed(launch_args(n_steps), false);
}

float Machine::run_probe(int n_steps, const ProbeArgs& probe) {
  LaunchArgs args = launch_args(n_steps);
  args.probe = probe;
  return timed(args, true);
}

void Machine::start(int n_steps) {
  ARC_CUDA(launch_tape(launch_args(n_steps), tape_.options.n_sms, false, nullptr));
}

void Machine::upload_stages() {
  ARC_CUDA(cudaMemcpy(stages_, tape_.stages.data(), tape_.stages.size() * sizeof(TapeStage), cudaMemcpyHostToDevice));
}
void Machine::finish() {
  ARC_CUDA(cudaDeviceSynchronize());
}

StepState Machine::state() const {
  StepState state;
  ARC_CUDA(cudaMemcpy(&state, state_, sizeof state, cudaMemcpyDeviceToHost));
  return state;
}

}  // namespace arc::tape
