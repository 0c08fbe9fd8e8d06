#include "plan/plan.h"

#include <map>

#include "fmt/format.h"

namespace arc {
namespace {

// One line per stage: what it does, what it reads, what it gives.
std::string describe(const Plan& plan, const Stage& stage) {
  const auto list = [&](const BufferRef* refs, int count) {
    std::string text;
    for (int i = 0; i < count && refs[i].buffer != kNone; ++i) {
      const Buffer& buffer = plan.buffers[refs[i].buffer];
      text += text.empty() ? "" : ", ";
      text += refs[i].cols == buffer.cols
                  ? fmt::format("{}[{}]", buffer.name, buffer.cols)
                  : fmt::format("{}[{}:{}]", buffer.name, refs[i].col, refs[i].col + refs[i].cols);
    }
    return text;
  };
  std::string weights;
  for (WeightId id : stage.weights) {
    if (id == kNone) continue;
    const WeightSlot& w = plan.weights[id];
    const std::string name = w.name.substr(w.name.starts_with("layers.") ? w.name.find('.', 7) + 1 : 0);
    weights +=
        fmt::format(" {} {}", name,
                    w.count > 1 ? fmt::format("{}x{}x{}", w.count, w.out, w.in) : fmt::format("{}x{}", w.out, w.in));
  }
  return fmt::format("{:<13} {} -> {}{}{}", op_name(stage.args), list(stage.reads, 2), list(stage.writes, 1),
                     weights.empty() ? "" : " |", weights);
}

std::string human(int64_t bytes) {
  if (bytes >= 1'000'000'000) return fmt::format("{:.2f} GB", static_cast<double>(bytes) / 1e9);
  if (bytes >= 1'000'000) return fmt::format("{:.2f} MB", static_cast<double>(bytes) / 1e6);
  return fmt::format("{:.1f} KB", static_cast<double>(bytes) / 1e3);
}

std::string group_line(const CacheNeeds& g) {
  constexpr const char* kNames[] = {"full", "sliding", "latent", "state", "open"};
  const std::string size = g.kind == CacheKind::state
                               ? fmt::format("{} a sequence", human(g.bytes_per_block()))
                               : fmt::format("{} kv heads, k {} v {}, {} a token", g.kv_heads, g.k_dim, g.v_dim,
                                             human(g.bytes_per_block() / kTileTokens));
  return fmt::format("  cache {:<8} {} layers, {}{}\n", kNames[static_cast<int>(g.kind)], g.layers.size(), size,
                     g.window > 0 ? fmt::format(", window {}", g.window) : "");
}

}  // namespace

bool CacheNeeds::same_needs(const CacheNeeds& other) const {
  return kind == other.kind && window == other.window && policy == other.policy && kv_heads == other.kv_heads &&
         k_dim == other.k_dim && v_dim == other.v_dim && state_bytes == other.state_bytes;
}

int64_t CacheNeeds::head_bytes() const {
  return kv_layout(policy, k_dim, v_dim).head_bytes;
}

int64_t CacheNeeds::layer_block_bytes() const {
  return kind == CacheKind::state ? state_bytes : kv_heads * head_bytes();
}

int64_t CacheNeeds::bytes_per_block() const {
  return layer_block_bytes() * static_cast<int64_t>(layers.size());
}

int64_t weight_bytes(const WeightSlot& weight) {
  return weight.count * format_bytes(weight.format, weight.out, weight.in) +
         (weight.bias_parts.empty() ? 0 : weight.count * weight.out * 4);
}

StageCost total_cost(const Plan& plan) {
  StageCost total;
  for (const Stage& stage : plan.stages) {
    total.weight_bytes += stage.cost.weight_bytes;
    total.cache_bytes_per_token += stage.cost.cache_bytes_per_token;
    total.flops_per_token += stage.cost.flops_per_token;
  }
  return total;
}

int64_t parameter_count(const Plan& plan) {
  int64_t count = 0;
  std::string embed;
  for (const WeightSlot& w : plan.weights) {
    if (w.role == WeightSlot::Role::constant) continue;
    if (w.name == "embed") embed = w.parts.front().tensor;
    if (w.name == "head" && w.parts.front().tensor == embed) continue;  // tied
    const int64_t biases = w.role == WeightSlot::Role::vector ? w.in : w.count * w.out;
    count += w.count * w.out * w.in + (w.bias_parts.empty() ? 0 : biases);
  }
  return count;
}

std::string to_string(const Plan& plan) {
  // Layers with the same stages are printed once.
  std::map<std::string, std::pair<int, int>> first_and_count;
  std::vector<std::string> order;
  std::string block;
  int layer = kNone;
  const auto flush = [&] {
    if (block.empty()) return;
    auto [it, fresh] = first_and_count.try_emplace(block, layer, 0);
    it->second.second++;
    if (fresh) order.push_back(block);
    block.clear();
  };
  for (const Stage& stage : plan.stages) {
    if (stage.layer != layer) flush();
    layer = stage.layer;
    block += "    " + describe(plan, stage) + "\n";
  }
  flush();
  std::string text = fmt::format("plan {}: {} stages, {} buffers, rank {} of {}\n", plan.arch, plan.stages.size(),
                                 plan.buffers.size(), plan.shard.rank, plan.shard.size);
  for (const std::string& stages : order) {
    const auto [first, count] = first_and_count[stages];
    text += first == kNone
                ? "  outside layers\n"
                : fmt::format("  layer {}{}\n", first, count > 1 ? fmt::format(" and {} like it", count - 1) : "");
    text += stages;
  }
  for (const CacheNeeds& group : plan.groups) text += group_line(group);
  const StageCost cost = total_cost(plan);
  text += fmt::format("  {} parameters; a decoded token reads {} of weights and {} of cache per token of context\n",
                      parameter_count(plan), human(cost.weight_bytes), human(cost.cache_bytes_per_token));
  return text;
}

}  // namespace arc
