#include "gpu/wide_model.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "nlohmann/json.hpp"

#include "base/check.h"
#include "base/json.h"
#include "weights/checkpoint_slots.h"

namespace arc::test {
namespace {

constexpr int kHeadDim = 64;
constexpr double kRotated = 0.5;  // of a head, where the model rotates a part

// Whole blocks of the format, and heads beside each other.
int width_of(const WeightFormat& format) {
  return format.code == BlockCode::none ? 2 * kHeadDim : std::max(2 * kHeadDim, block_code_info(format.code).elements);
}

constexpr const char* kWidths[] = {"hidden_size",
                                   "intermediate_size",
                                   "moe_intermediate_size",
                                   "shared_expert_intermediate_size",
                                   "shared_intermediate_size",
                                   "q_lora_rank",
                                   "kv_lora_rank"};
constexpr const char* kHeadDims[] = {"head_dim",   "qk_nope_head_dim",    "qk_rope_head_dim",
                                     "v_head_dim", "linear_key_head_dim", "linear_value_head_dim"};

Json widened(const Golden& golden, int width) {
  Json config = parse_json(golden.config_json, "config.json");
  const auto set = [&](const char* key, int size) {
    if (config.contains(key) && config.at(key).is_number()) config[key] = size;
  };
  for (const char* key : kWidths) set(key, width);
  for (const char* key : kHeadDims) set(key, kHeadDim);
  const int heads = width / kHeadDim;
  const bool grouped = config.value("num_key_value_heads", 0) < config.at("num_attention_heads").get<int>();
  set("num_attention_heads", heads);
  set("num_key_value_heads", grouped ? heads / 2 : heads);
  if (config.contains("mamba_n_heads"))
    set("mamba_d_head", width * config.at("mamba_expand").get<int>() / config.at("mamba_n_heads").get<int>());
  int rotated = kHeadDim / 2;
  if (config.contains("partial_rotary_factor")) {
    config["partial_rotary_factor"] = kRotated;
    rotated = static_cast<int>(kRotated * rotated);
  }
  for (const char* factors : {"long_factor", "short_factor"}) {
    if (!config.contains("rope_scaling") || !config.at("rope_scaling").is_object() ||
        !config.at("rope_scaling").contains(factors))
      continue;
    Json& list = config["rope_scaling"][factors];
    const Json few = list;
    list = Json::array();
    for (int i = 0; i < rotated; ++i)
      list.push_back(few[static_cast<size_t>(i) * few.size() / static_cast<size_t>(rotated)]);
  }
  return config;
}

// Every slot by itself, matrices in one format.
class FormatSlots : public SlotResolver {
 public:
  FormatSlots(const Arch& arch, bool tied_head, const WeightFormat& format)
      : slots_(arch.own_names, tied_head, format.code == BlockCode::none ? format.element : DType::f32),
        code_(format.code) {}
  std::optional<SlotTensor> find(std::string_view slot, int layer, int expert, bool required) const override {
    std::optional<SlotTensor> tensor = slots_.find(slot, layer, expert, required);
    if (!tensor) return tensor;
    tensor->layout.transposed = tensor->layout.interleaved = tensor->layout.stacked = false;
    const bool coded = code_ != BlockCode::none && slot.find("norm") == std::string_view::npos &&
                       slot.find("conv") == std::string_view::npos;
    if (coded) tensor->dtype = DType::packed, tensor->code = code_;
    return tensor;
  }

 private:
  ShapeOnlySlots slots_;
  BlockCode code_;
};

Tensor normals(std::mt19937& random, const WeightFormat& format, int64_t rows, int64_t in, float mean, float spread) {
  std::normal_distribution<float> normal(mean, spread);
  std::vector<float> values(static_cast<size_t>(rows * in));
  for (float& v : values) v = normal(random);
  const Tensor data = Tensor::zeros({format_bytes(format, rows, in)}, DType::u8);
  if (format.code == BlockCode::none) {
    from_float(format.element, values.data(), data.data(), values.size());
  } else {
    ARC_CHECK(in % block_code_info(format.code).elements == 0) << in;
    encode_blocks(format.code, values.data(), data.data(), rows * in);
  }
  return data;
}

Linear random_weight(std::mt19937& random, const WeightSlot& slot) {
  Linear weight{.format = slot.format, .count = slot.count, .out = slot.out, .in = slot.in};
  const WeightFormat f32 = WeightFormat::plain(DType::f32);
  if (slot.role == WeightSlot::Role::constant) {
    weight.data = Tensor::zeros({slot.in}, DType::f64);
    std::ranges::copy(slot.values, weight.data.as<double>());
  } else if (slot.role == WeightSlot::Role::vector) {
    weight.data = Tensor::zeros({slot.in}, DType::f32);
    std::normal_distribution<float> normal(slot.negative_exp ? -1.0f : 1.0f, 0.2f);
    for (int64_t i = 0; i < slot.in; ++i) weight.data.as<float>()[i] = normal(random);
    if (!slot.bias_parts.empty()) weight.bias = normals(random, f32, 1, slot.in, 0.0f, 0.1f);
  } else {
    const float spread = 1.0f / std::sqrt(static_cast<float>(slot.in));
    weight.data = normals(random, slot.format, slot.count * slot.out, slot.in, 0.0f, spread);
    if (!slot.bias_parts.empty()) weight.bias = normals(random, f32, slot.count, slot.out, 0.0f, 0.1f);
  }
  return weight;
}

Linear decoded(const Linear& weight) {
  if (weight.format == WeightFormat::plain(DType::f32) || weight.format == WeightFormat::plain(DType::f64))
    return weight;
  Linear out = weight;
  out.format = WeightFormat::plain(DType::f32);
  const int64_t rows = weight.count * weight.out;
  out.data = Tensor::zeros({rows * weight.in}, DType::f32);
  if (weight.format.code == BlockCode::none) {
    to_float(weight.format.element, weight.data.data(), out.data.as<float>(), static_cast<size_t>(rows * weight.in));
  } else {
    decode_run(weight.format.code, weight.data.data(), 0, rows * weight.in, out.data.as<float>());
  }
  return out;
}

}  // namespace

WideModel::WideModel(const Golden& golden, const WeightFormat& format) : format_(format) {
  const Config config(widened(golden, width_of(format)));
  arch_ = &find_arch(config.architecture());
  spec_ = arch_->build(config);
  const Plan plan = lowered(nullptr, caches("auto", DType::f32));
  vocab_ = plan.vocab > 0 ? plan.vocab : static_cast<int32_t>(golden.tokens.size());
  whole_texts_ = plan.bidirectional;
  std::mt19937 random(17);
  for (const WeightSlot& slot : plan.weights) {
    weights_.weights.push_back(random_weight(random, slot));
    decoded_.weights.push_back(decoded(weights_.weights.back()));
  }
}

WideModel WideModel::with_windows(int32_t window) const {
  WideModel other = *this;
  for (LayerSpec& layer : other.spec_.layers) {
    auto* attention = std::get_if<AttentionSpec>(&layer.mixer);
    if (attention != nullptr && attention->window > 0) attention->window = window;
  }
  return other;
}

std::vector<LayerCache> WideModel::caches(const std::string& type, DType raw) const {
  return resolve_cache(spec_, parse_cache_type(type), raw);
}

Plan WideModel::lowered(const KernelTable* kernels, const std::vector<LayerCache>& caches) const {
  const FormatSlots slots(*arch_, spec_.tied_head, format_);
  return lower(spec_, slots,
               {.kernels = kernels, .policy = [&](int layer) { return caches[static_cast<size_t>(layer)].policy; }});
}

HandMade WideModel::made(const std::vector<LayerCache>& caches, const LoadedWeights& weights) const {
  return {.plan = [this, caches](const KernelTable& kernels) { return lowered(&kernels, caches); }, .weights = weights};
}
HandMade WideModel::made(const std::vector<LayerCache>& caches) const {
  return made(caches, weights_);
}
HandMade WideModel::reference(const std::vector<LayerCache>& caches) const {
  return made(caches, decoded_);
}

void WideModel::pack(const PackWeight& pack) {
  for (size_t i = 0; i < weights_.weights.size(); ++i) pack(static_cast<WeightId>(i), weights_.weights[i]);
}

std::vector<int32_t> WideModel::tokens(int n) const {
  std::vector<int32_t> tokens(static_cast<size_t>(n));
  for (int i = 0; i < n; ++i) tokens[static_cast<size_t>(i)] = (i * 31 + i / 7) % vocab_;
  return tokens;
}

}  // namespace arc::test
