#include "gpu/attention_bench.h"

#include <algorithm>
#include <cstdio>
#include <cuda_runtime.h>
#include <memory>
#include <vector>

#include "base/error.h"
#include "gpu/random_fill.h"
#include "kernels/api/kernel_table.h"
#include "kernels/cuda/cuda_kernels.h"
#include "kernels/cuda/scratch.h"
#include "plan/cache_policy.h"
#include "quant/turbo.h"
#include "tensor/device_memory.h"
#include "tensor/tensor.h"

namespace arc::bench {
namespace {

constexpr int kStages = 32;  // in a graph
constexpr int kReplays = 7;
constexpr int kDim = 128;
constexpr int64_t kPoolBytes = int64_t{6} << 30;  // of the caches, more than the device's own cache by far

struct Shape {
  const char* name;
  int heads, kv_heads, layers;
};
constexpr Shape kShapes[] = {{"qwen3-32b", 64, 8, 64}, {"qwen3-8b", 32, 8, 36}};
constexpr const char* kCaches[] = {"auto", "q8", "f8e4m3", "turboquant", "turboquant-3", "turboquant-aggressive"};
struct Load {
  int batch, context;
};
constexpr Load kLoads[] = {{1, 512}, {1, 8192}, {1, 32768}, {1, 131072}, {64, 4096}};

void check(cudaError_t error) {
  if (error != cudaSuccess) throw Error(ErrorCode::resource, cudaGetErrorString(error));
}

template <typename T>
Tensor on_device(const std::vector<T>& host, Device device) {
  const auto bytes = static_cast<int64_t>(host.size() * sizeof(T));
  Tensor there = Tensor::zeros({bytes}, DType::u8, device);
  copy_bytes(there.data(), device, reinterpret_cast<const std::byte*>(host.data()), {}, there.size_bytes());
  return there;
}

// The policy of a layer in the middle.
KvPolicy policy_of(const char* cache) {
  const CacheType type = parse_cache_type(cache);
  if (std::string_view(cache) == "auto") return KvPolicy::raw_of(DType::bf16);
  KvPolicy policy = KvPolicy::raw_of(DType::bf16);
  policy.k = type.k;
  policy.v = type.v;
  if (!policy.tiled()) return policy;
  policy.seed = 1;
  policy.recent = static_cast<uint16_t>(type.recent);
  policy.open_int8 = type.open == 8;
  return policy;
}

KvView view_of(const KvPolicy& policy, int kv_heads) {
  const KvLayout layout = kv_layout(policy, kDim, kDim);
  return {.policy = policy,
          .block_bytes = kv_heads * layout.head_bytes,
          .head_bytes = layout.head_bytes,
          .v_offset_bytes = layout.v_offset,
          .tokens_per_block = kTileTokens,
          .k_scales_bytes = layout.k_scales,
          .v_scales_bytes = layout.v_scales};
}

// Attention of one step over as many caches as the pool holds.
class Bench {
 public:
  Bench(const CudaDevice& device, const Shape& shape, const char* cache, const Load& load, std::byte* pool)
      : policy_(policy_of(cache)),
        tiles_((load.context + kTileTokens - 1) / kTileTokens),
        args_{.open_group = policy_.tiled() ? 1 : -1,
              .heads = shape.heads,
              .kv_heads = shape.kv_heads,
              .k_dim = kDim,
              .v_dim = kDim,
              .scale = 0.0883883f},
        closed_(view_of(policy_, shape.kv_heads)) {
    const Device there = device.device();
    std::vector<int32_t> positions(load.batch, load.context - 1), starts, lens(load.batch, load.context), table;
    for (int s = 0; s <= load.batch; ++s) starts.push_back(s);
    for (int i = 0; i < load.batch * tiles_; ++i) table.push_back(i);
    for (const auto& numbers : {positions, starts, lens, table}) inputs_.push_back(on_device(numbers, there));
    rows_ = Tensor::zeros({2, load.batch, shape.heads * kDim}, DType::f32, there);
    fill_random_bf16(rows_.data(), static_cast<int64_t>(rows_.size_bytes() / 4), 1.0f, 7);
    scratch_ = Tensor::zeros({cuda::scratch_bytes(args_, load.batch, load.context)}, DType::u8, there);
    closed_.data = pool;
    if (policy_.tiled()) {
      k_codec_ = std::make_unique<TurboCodec>(KvRole::key, kDim, policy_.k.bits, policy_.seed);
      v_codec_ = std::make_unique<TurboCodec>(KvRole::value, kDim, policy_.v.bits, policy_.seed);
      closed_.k_turbo = k_codec_.get();
      closed_.v_turbo = v_codec_.get();
      open_ = view_of(policy_.open_policy(), shape.kv_heads);
    }
    const int64_t blocks = int64_t{load.batch} * tiles_;
    layer_bytes_ = blocks * (closed_.block_bytes + open_.block_bytes);
    layers_ = static_cast<int>(std::min<int64_t>(kStages, kPoolBytes / layer_bytes_));
    open_offset_ = blocks * closed_.block_bytes;
    const int open_tiles = policy_.tiled() ? std::min(tiles_, 1 + policy_.recent) : 0;
    bytes_ = static_cast<double>(load.batch) *
             (static_cast<double>(tiles_ - open_tiles) * static_cast<double>(closed_.block_bytes) +
              open_tiles * static_cast<double>(open_.block_bytes));
    for (GroupInputs& group : step_.groups) {
      group = {.block_table = input(3), .table_stride = tiles_};
    }
    step_.n_seqs = step_.n_tokens = step_.n_rows = load.batch;
    step_.positions = input(0);
    step_.q_start = input(1);
    step_.seq_lens = input(2);
  }

  bool fits() const { return layers_ > 0; }
  double bytes() const { return bytes_; }

  // Of one layer: the median of some graphs of kStages layers.
  double seconds(cudaStream_t stream) const {
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t run = nullptr;
    check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    for (int i = 0; i < kStages; ++i) attend(i % layers_, stream);
    check(cudaStreamEndCapture(stream, &graph));
    check(cudaGraphInstantiate(&run, graph, 0));
    cudaEvent_t begin = nullptr, end = nullptr;
    check(cudaEventCreate(&begin));
    check(cudaEventCreate(&end));
    std::vector<float> ms;
    for (int i = 0; i < kReplays + 2; ++i) {
      check(cudaEventRecord(begin, stream));
      check(cudaGraphLaunch(run, stream));
      check(cudaEventRecord(end, stream));
      check(cudaEventSynchronize(end));
      float took = 0.0f;
      check(cudaEventElapsedTime(&took, begin, end));
      if (i >= 2) ms.push_back(took);
    }
    std::ranges::sort(ms);
    cudaEventDestroy(begin);
    cudaEventDestroy(end);
    cudaGraphExecDestroy(run);
    cudaGraphDestroy(graph);
    return ms[kReplays / 2] / 1e3 / kStages;
  }

 private:
  const int32_t* input(int i) const { return reinterpret_cast<const int32_t*>(inputs_[i].data()); }

  void attend(int layer, cudaStream_t stream) const {
    const int64_t cols = int64_t{args_.heads} * kDim;
    const auto row = [&](int i) {
      return TensorView{.data = const_cast<float*>(rows_.as<float>()) + i * step_.n_seqs * cols,
                        .dtype = DType::f32,
                        .rows = step_.n_seqs,
                        .cols = cols,
                        .row_stride = cols};
    };
    const TensorView reads[2] = {row(0)}, writes[2] = {row(1)};
    Operands o{.reads = reads,
               .writes = writes,
               .step = &step_,
               .kv = closed_,
               .open = open_,
               .stream = stream,
               .scratch = const_cast<std::byte*>(scratch_.data())};
    o.kv.data += layer * layer_bytes_;
    if (policy_.tiled()) o.open.data = o.kv.data + open_offset_;
    cuda::run(args_, o);
  }

  KvPolicy policy_;
  int tiles_;
  AttendArgs args_;
  KvView closed_, open_;
  std::unique_ptr<TurboCodec> k_codec_, v_codec_;
  std::vector<Tensor> inputs_;
  Tensor rows_, scratch_;
  StepInputs step_;
  int64_t layer_bytes_ = 0, open_offset_ = 0;
  int layers_ = 0;
  double bytes_ = 0.0;
};

}  // namespace

void bench_attention(const CudaDevice& device, double ceiling, std::string_view wanted) {
  const Tensor pool = Tensor::zeros({kPoolBytes}, DType::u8, device.device());
  fill_random_bf16(const_cast<std::byte*>(pool.data()), kPoolBytes / 2, 1.0f, 3);
  cudaStream_t stream = nullptr;
  check(cudaDeviceSynchronize());
  check(cudaStreamCreate(&stream));
  for (const Shape& shape : kShapes) {
    if (std::string_view(shape.name).find(wanted) == std::string_view::npos) continue;
    for (const char* cache : kCaches) {
      for (const Load& load : kLoads) {
        const Bench bench(device, shape, cache, load, const_cast<std::byte*>(pool.data()));
        if (!bench.fits()) continue;
        const double seconds = bench.seconds(stream), rate = bench.bytes() / 1e9 / seconds;
        const double tokens = static_cast<double>(load.batch) * load.context;
        std::printf(
            "%-9s %-21s batch %2d, context %6d: %8.2f us a layer, %6.1f ns a context token, %5.0f GB/s, %5.1f%%\n",
            shape.name, cache, load.batch, load.context, 1e6 * seconds, 1e9 * seconds * shape.layers / tokens, rate,
            100 * rate / ceiling);
        std::fflush(stdout);
      }
    }
  }
  cudaStreamDestroy(stream);
}

}  // namespace arc::bench
