#include "exec/bound_plan.h"

#include <iterator>

namespace arc {
namespace {

// Groups and layers of a stage that touches the cache.
struct CacheUse {
  int group = -1, layer = 0;
  int open_group = -1, open_layer = 0;
};

CacheUse cache_use(const Args& args) {
  return std::visit(
      [](const auto& a) -> CacheUse {
        if constexpr (requires { a.open_group; }) {
          return {.group = a.group, .layer = a.layer, .open_group = a.open_group, .open_layer = a.open_layer};
        } else if constexpr (requires { a.group; }) {
          return {.group = a.group, .layer = a.layer};
        } else if constexpr (requires { a.attend; }) {
          return cache_use(a.attend);
        } else {
          return {};
        }
      },
      args);
}

}  // namespace

BoundPlan::BoundPlan(const Plan& plan, const StepCapacity& capacity, Device device) {
  for (const Buffer& buffer : plan.buffers) {
    const int64_t rows = buffer.rows == Buffer::Rows::tokens ? capacity.tokens : capacity.rows;
    buffers_.push_back(Tensor::zeros({rows, buffer.cols}, buffer.dtype, device));
  }
}

TensorView BoundPlan::bind(const BufferRef& ref) const {
  if (ref.buffer == kNone) return {};
  TensorView view = buffers_[ref.buffer].view();
  view.data = static_cast<std::byte*>(view.data) + ref.col * static_cast<int64_t>(dtype_size(view.dtype));
  view.cols = ref.cols;
  return view;
}

void BoundPlan::bind(const Plan& plan, const LoadedWeights& weights, const CacheStorage& cache) {
  stages_.clear();
  for (const Stage& stage : plan.stages) {
    BoundStage& bound = stages_.emplace_back();
    for (size_t i = 0; i < std::size(stage.weights); ++i) {
      if (stage.weights[i] != kNone) bound.weights[i] = weights.weights[stage.weights[i]].view();
    }
    for (size_t i = 0; i < std::size(stage.reads); ++i) bound.reads[i] = bind(stage.reads[i]);
    for (size_t i = 0; i < std::size(stage.writes); ++i) bound.writes[i] = bind(stage.writes[i]);
    const CacheUse use = cache_use(stage.args);
    if (use.group < 0) continue;
    if (plan.groups[use.group].kind == CacheKind::state) {
      bound.state = cache.state(use.group, use.layer);
    } else {
      bound.kv = cache.kv(use.group, use.layer);
    }
    if (use.open_group >= 0) bound.open = cache.kv(use.open_group, use.open_layer);
  }
}

Operands BoundPlan::operands(size_t stage, const StepInputs& inputs) const {
  const BoundStage& bound = stages_[stage];
  return {.weights = bound.weights,
          .reads = bound.reads,
          .writes = bound.writes,
          .step = &inputs,
          .n_prompt = bound.n_prompt,
          .n_prompt_tiles = n_prompt_tiles_,
          .kv = bound.kv,
          .open = bound.open,
          .state = bound.state};
}

void BoundPlan::set_rows(const Plan& plan, const StepInputs& inputs) noexcept {
  const auto of_tokens = [&](const BufferRef& ref) {
    return ref.buffer != kNone && plan.buffers[ref.buffer].rows == Buffer::Rows::tokens;
  };
  const auto rows_of = [&](const BufferRef& ref) -> int64_t {
    if (ref.buffer == kNone) return 0;
    return of_tokens(ref) ? inputs.n_tokens : inputs.n_rows;
  };
  const int64_t n_prompt =
      inputs.n_prompts > 0 ? inputs.n_tokens - inputs.q_start[inputs.n_seqs - inputs.n_prompts] : 0;
  n_prompt_tiles_ = 0;
  for (int32_t s = inputs.n_seqs - inputs.n_prompts; s < inputs.n_seqs; ++s)
    n_prompt_tiles_ += (inputs.seq_lens[s] + kTileTokens - 1) / kTileTokens;
  for (size_t s = 0; s < stages_.size(); ++s) {
    const Stage& stage = plan.stages[s];
    for (size_t i = 0; i < std::size(stage.reads); ++i) stages_[s].reads[i].rows = rows_of(stage.reads[i]);
    for (size_t i = 0; i < std::size(stage.writes); ++i) stages_[s].writes[i].rows = rows_of(stage.writes[i]);
    stages_[s].n_prompt = of_tokens(stage.writes[0]) ? n_prompt : 0;
  }
}

}  // namespace arc
