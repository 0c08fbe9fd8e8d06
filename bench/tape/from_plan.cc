#include "from_plan.h"

#include <cmath>

#include "fmt/format.h"

#include "base/error.h"

namespace arc::tape {
namespace {

[[noreturn]] void refuse(const Plan& plan, size_t stage, const std::string& why) {
  const Stage& s = plan.stages[stage];
  throw Error(ErrorCode::unsupported,
              fmt::format("stage {} ({}, layer {}) does not fit the tape: {}", stage, op_name(s.args), s.layer, why));
}

// The plan's stages that have a counterpart on the tape.
std::vector<size_t> tape_stages(const Plan& plan) {
  std::vector<size_t> indices;
  for (size_t i = 0; i < plan.stages.size(); ++i) {
    if (!std::holds_alternative<GatherArgs>(plan.stages[i].args)) indices.push_back(i);
  }
  return indices;
}

const WeightSlot& matrix(const Plan& plan, const Stage& stage) {
  return plan.weights[stage.weights[0]];
}

Epilogue epilogue_of(const FusedLinearArgs& args, bool is_head) {
  switch (args.epilogue) {
    case arc::Epilogue::store:
      return is_head ? Epilogue::keep_best : Epilogue::store;
    case arc::Epilogue::add:
      return Epilogue::add_residual;
    case arc::Epilogue::act:
      break;
  }
  return Epilogue::silu_mul;
}

void check_product(const Plan& plan, size_t index, const TapeStage& tape) {
  const Stage& stage = plan.stages[index];
  const auto* args = std::get_if<FusedLinearArgs>(&stage.args);
  if (args == nullptr) refuse(plan, index, "a tape has only fused products, attention, embedding");
  const WeightSlot& w = matrix(plan, stage);
  if (!w.bias_parts.empty()) refuse(plan, index, "it has a bias");
  if (args->epilogue == arc::Epilogue::act && (args->act.act != Act::silu || !args->act.gated))
    refuse(plan, index, "its activation");
  const bool is_head = stage.layer == kNone;
  if (tape.op != Op::product || tape.product.epilogue != epilogue_of(*args, is_head))
    refuse(plan, index, "another operation stands there");
  if (tape.product.n_out != w.out || tape.product.n_in != w.in) refuse(plan, index, "sizes differ");
  if (args->norm.kind != NormKind::none && args->norm.eps != tape.product.eps) refuse(plan, index, "the norm's eps");
  if (static_cast<int64_t>(tape.cost.weight_bytes) != w.out * w.in * 2) refuse(plan, index, "bytes differ");
}

void check_attend(const Plan& plan, size_t index, const TapeStage& tape) {
  const auto& args = std::get<FusedAttendArgs>(plan.stages[index].args);
  const arc::AttendArgs& a = args.attend;
  if (a.k_dim != kHeadDim || a.v_dim != kHeadDim || args.rope_dims != kHeadDim)
    refuse(plan, index, "head dim is not 128");
  if (a.window != 0 || a.softcap != 0 || a.sinks || !a.causal) refuse(plan, index, "windows, soft caps, sinks");
  if (args.norm.kind != NormKind::rms || args.rope_factor != 1.0) refuse(plan, index, "its norm or rope factor");
  const float scale_log2 = a.scale * std::log2(std::exp(1.0f));
  const bool same = tape.op == Op::attend && tape.attend.n_heads == static_cast<uint32_t>(a.heads) &&
                    tape.attend.n_kv_heads == static_cast<uint32_t>(a.kv_heads) && tape.attend.eps == args.norm.eps &&
                    std::fabs(tape.attend.scale_log2 - scale_log2) < 1e-6f;
  if (!same) refuse(plan, index, "heads, eps or scale differ");
  if (tape.cost.bytes_per_token != plan.stages[index].cost.cache_bytes_per_token)
    refuse(plan, index, "cache bytes differ");
}

}  // namespace

Shape shape_of(const Plan& plan) {
  Shape shape{.dim = static_cast<uint32_t>(plan.dim), .vocab = static_cast<uint32_t>(plan.vocab)};
  for (size_t i = 0; i < plan.stages.size(); ++i) {
    const Stage& stage = plan.stages[i];
    if (const auto* attend = std::get_if<FusedAttendArgs>(&stage.args)) {
      ++shape.n_layers;
      shape.n_heads = static_cast<uint32_t>(attend->attend.heads);
      shape.n_kv_heads = static_cast<uint32_t>(attend->attend.kv_heads);
      shape.eps = attend->norm.eps;
      // The frequencies are theta^(-2i / dims); the second one gives theta.
      const std::vector<double>& frequencies = plan.weights[stage.weights[2]].values;
      if (frequencies.size() < 2) refuse(plan, i, "no rotation");
      shape.rope_theta = static_cast<float>(std::pow(frequencies[1], -static_cast<double>(frequencies.size())));
    }
    const auto* product = std::get_if<FusedLinearArgs>(&stage.args);
    if (product != nullptr && product->epilogue == arc::Epilogue::act)
      shape.ffn = static_cast<uint32_t>(product->act.hidden);
  }
  return shape;
}

void check_same(const Plan& plan, const Tape& tape) {
  const std::vector<size_t> stages = tape_stages(plan);
  if (stages.size() + 1 != tape.stages.size() || tape.stages.back().op != Op::argmax) {
    throw Error(ErrorCode::unsupported,
                fmt::format("the plan has {} stages for a tape of {}", stages.size(), tape.stages.size()));
  }
  for (size_t i = 0; i < stages.size(); ++i) {
    const Args& args = plan.stages[stages[i]].args;
    if (std::holds_alternative<EmbedArgs>(args)) {
      if (tape.stages[i].op != Op::embed || std::get<EmbedArgs>(args).scale != 1.0f)
        refuse(plan, stages[i], "the embedding");
    } else if (std::holds_alternative<FusedAttendArgs>(args)) {
      check_attend(plan, stages[i], tape.stages[i]);
    } else {
      check_product(plan, stages[i], tape.stages[i]);
    }
  }
}

}  // namespace arc::tape
