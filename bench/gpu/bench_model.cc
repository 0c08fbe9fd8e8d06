#include "gpu/bench_model.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cuda_runtime.h>
#include <optional>
#include <vector>

#include "nlohmann/json.hpp"

#include "base/json.h"
#include "exec/cuda/cuda_backend.h"
#include "gpu/ceiling.h"
#include "gpu/library_products.h"
#include "gpu/random_fill.h"
#include "models/arch.h"
#include "plan/cache_policy.h"
#include "plan/lower.h"
#include "weights/checkpoint_slots.h"

namespace arc::bench {
namespace {

constexpr Shape kShapes[] = {
    {"qwen3-0.6b",
     R"({"architectures": ["Qwen3ForCausalLM"], "vocab_size": 151936, "hidden_size": 1024, "intermediate_size": 3072,
 "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128,
 "max_position_embeddings": 40960, "rms_norm_eps": 1e-6, "rope_theta": 1000000, "tie_word_embeddings": true})"},
    {"qwen3-8b",
     R"({"architectures": ["Qwen3ForCausalLM"], "vocab_size": 151936, "hidden_size": 4096, "intermediate_size": 12288,
 "num_hidden_layers": 36, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
 "max_position_embeddings": 40960, "rms_norm_eps": 1e-6, "rope_theta": 1000000, "tie_word_embeddings": false})"},
    {"qwen3-30b-a3b",
     R"({"architectures": ["Qwen3MoeForCausalLM"], "vocab_size": 151936, "hidden_size": 2048, "intermediate_size": 6144,
 "moe_intermediate_size": 768, "num_experts": 128, "num_experts_per_tok": 8, "norm_topk_prob": true,
 "num_hidden_layers": 48, "num_attention_heads": 32, "num_key_value_heads": 4, "head_dim": 128,
 "max_position_embeddings": 40960, "rms_norm_eps": 1e-6, "rope_theta": 1000000, "tie_word_embeddings": false})"},
    {"qwen3-32b",
     R"({"architectures": ["Qwen3ForCausalLM"], "vocab_size": 151936, "hidden_size": 5120, "intermediate_size": 25600,
 "num_hidden_layers": 64, "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 128,
 "max_position_embeddings": 40960, "rms_norm_eps": 1e-6, "rope_theta": 1000000, "tie_word_embeddings": false})"},
};

// Matrices in a block code.
class CodedSlots : public SlotResolver {
 public:
  CodedSlots(const ShapeOnlySlots& slots, BlockCode code) : slots_(slots), code_(code) {}
  std::optional<SlotTensor> find(std::string_view slot, int layer, int expert, bool required) const override {
    std::optional<SlotTensor> tensor = slots_.find(slot, layer, expert, required);
    if (tensor && code_ != BlockCode::none && slot.find("norm") == std::string_view::npos) {
      tensor->dtype = DType::packed;
      tensor->code = code_;
    }
    return tensor;
  }

 private:
  const ShapeOnlySlots& slots_;
  BlockCode code_;
};

Linear random_weight(const WeightSlot& slot, uint64_t seed, Device device) {
  Linear weight{.format = slot.format, .count = slot.count, .out = slot.out, .in = slot.in};
  if (slot.role == WeightSlot::Role::matrix) {
    weight.data = Tensor::zeros({weight_bytes(slot)}, DType::u8, device);
    fill_random_bf16(weight.data.data(), weight.data.numel() / 2, 1.0f / std::sqrt(static_cast<float>(slot.in)),
                     seed << 40);
    return weight;
  }
  const bool constant = slot.role == WeightSlot::Role::constant;
  const Tensor host = Tensor::zeros({slot.in}, constant ? DType::f64 : DType::f32);
  if (constant) std::ranges::copy(slot.values, host.as<double>());
  if (!constant) std::fill_n(host.as<float>(), slot.in, 1.0f);
  weight.data = Tensor::zeros(host.shape(), host.dtype(), device);
  copy_bytes(weight.data.data(), device, host.data(), {}, host.size_bytes());
  return weight;
}

}  // namespace

std::span<const Shape> shapes() {
  return kShapes;
}

Plan lowered(const Shape& shape, const std::string& cache, BlockCode code) {
  const Config config(parse_json(shape.config, shape.name));
  const Arch& arch = find_arch(config.architecture());
  const ModelSpec spec = arch.build(config);
  const std::vector<LayerCache> layers = resolve_cache(spec, parse_cache_type(cache), DType::bf16);
  const ShapeOnlySlots slots(arch.own_names, spec.tied_head, DType::bf16);
  return lower(spec, CodedSlots(slots, code), {.kernels = &gpu::kernels(), .policy = [&](int layer) {
                                                 return layers[static_cast<size_t>(layer)].policy;
                                               }});
}

LoadedWeights random_weights(const Plan& plan, const CudaDevice& device) {
  LoadedWeights weights;
  for (const WeightSlot& slot : plan.weights) {
    weights.weights.push_back(random_weight(slot, weights.weights.size() + 1, device.device()));
  }
  return weights;
}

double read_ceiling(const CudaDevice& device) {
  const int64_t bytes = std::min<int64_t>(int64_t{16} << 30, device.free_bytes / 2) / (1 << 20) * (1 << 20);
  const Tensor memory = Tensor::zeros({bytes}, DType::u8, device.device());
  const auto address = reinterpret_cast<uint64_t>(memory.data());
  double best = 0.0;
  for (const Reader reader : {Reader::grid_stride, Reader::ring}) {
    std::array<double, 5> rates{};
    for (double& rate : rates) rate = read_rate(reader, address, bytes, device.n_processors);
    std::ranges::sort(rates);
    std::printf("reads %.0f GB/s with %s\n", rates[2], reader == Reader::ring ? "bulk copies" : "plain loads");
    best = std::max(best, rates[2]);
  }
  return best;
}

double matrix_peak(const CudaDevice& device) {
  int khz = 0;
  cudaDeviceGetAttribute(&khz, cudaDevAttrClockRate, device.index);
  return 4096.0 * device.n_processors * khz * 1e3;
}

double matrix_ceiling(const CudaDevice& device) {
  LibraryProducts library;
  const double nominal = matrix_peak(device);
  if (!library.problem().empty()) {
    std::printf("matrix ceiling: %.0f TFLOP/s by the highest clock (%s)\n", nominal / 1e12, library.problem().c_str());
    return nominal;
  }
  constexpr int64_t kSize = 8192;
  const Tensor weight = Tensor::zeros({kSize * kSize * 2}, DType::u8, device.device());
  fill_random_bf16(weight.data(), kSize * kSize, 1.0f, 1);
  const void* const data = weight.data();
  const double rate = 2.0 * kSize * kSize * kSize / library.seconds({&data, 1}, kSize, kSize, kSize);
  std::printf("matrix ceiling: cuBLASLt, 8192 cubed, bf16: %.0f TFLOP/s (%.0f by the highest clock)\n", rate / 1e12,
              nominal / 1e12);
  return rate;
}

double weight_bytes_read(const Plan& plan, int batch, const std::function<bool(const Stage&)>& chosen) {
  double sum = 0.0;
  for (const Stage& stage : plan.stages) {
    if (!chosen(stage)) continue;
    const auto one = static_cast<double>(stage.cost.weight_bytes);
    const auto* experts = std::get_if<ExpertLinearArgs>(&stage.args);
    if (experts == nullptr) {
      sum += one;
      continue;
    }
    const auto n = static_cast<double>(plan.weights[static_cast<size_t>(stage.weights[0])].count);
    const double share = experts->top_k / n;  // of all that a token meets
    sum += one / share * (1.0 - std::pow(1.0 - share, batch));
  }
  return sum;
}

}  // namespace arc::bench
