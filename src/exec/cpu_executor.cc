#include "exec/cpu_executor.h"

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <utility>

#include "fmt/format.h"

#include "base/check.h"
#include "base/error.h"
#include "exec/sample_row.h"
#include "kernels/cpu/op_scratch.h"
#include "kernels/cpu/pack.h"
#include "kernels/cpu/team.h"

namespace arc {
namespace {

// A step of so few operations is over before helpers have come and gone (about 0.1 ms on one thread).
constexpr int64_t kAloneFlops = 8'000'000;

// Whether weights[0] is read in packed order.
bool reads_packed(const Args& args) {
  return std::holds_alternative<EmbedArgs>(args) || std::holds_alternative<LinearArgs>(args) ||
         std::holds_alternative<HeadLinearArgs>(args) || std::holds_alternative<ExpertLinearArgs>(args);
}

// The tensor that a weight is the whole of, or empty.
std::string whole_tensor(const WeightSlot& weight) {
  if (weight.count != 1 || weight.parts.size() != 1) return {};
  const WeightPart& part = weight.parts.front();
  const bool whole = part.rows.size() == 1 && part.rows[0].begin == 0 && part.rows[0].stride == 1 && !part.turn &&
                     part.stack_index < 0 && weight.out == part.source_out && weight.in == part.source_in;
  return whole ? part.tensor : std::string();
}

}  // namespace

PackWeight CpuExecutor::packer(const Plan& plan) {
  // Tensor's name by weight; two weights that are one tensor (a tied head) share its packed bytes.
  std::map<WeightId, std::string> matrices;
  for (const Stage& stage : plan.stages) {
    if (reads_packed(stage.args)) matrices[stage.weights[0]] = whole_tensor(plan.weights[stage.weights[0]]);
  }
  return [matrices = std::move(matrices), memory = std::make_shared<cpu::PackedMemory>(),
          packed = std::map<std::string, Tensor>()](WeightId id, Linear& weight) mutable {
    const auto found = matrices.find(id);
    if (found == matrices.end() || weight.format.pack != PackId::plain) return;
    if (!cpu::can_pack(weight.format)) {
      throw Error(ErrorCode::unsupported, fmt::format("the CPU kernels have no products for {} weights ({}); try "
                                                      "--executor ref",
                                                      to_string(weight.format), Scope::path()));
    }
    const std::string& tensor = found->second;
    if (const auto same = packed.find(tensor); same != packed.end()) {
      weight.data = same->second;
    } else {
      weight.data = cpu::pack(weight.view(), *memory);
      if (!tensor.empty()) packed[tensor] = weight.data;
    }
    weight.format.pack = PackId::panels;
  };
}

CpuExecutor::CpuExecutor(Plan plan, LoadedWeights weights, const StepCapacity& capacity, const Options& options)
    : plan_(std::move(plan)),
      weights_(std::move(weights)),
      capacity_(capacity),
      options_(options),
      flops_per_token_(total_cost(plan_).flops_per_token),
      bound_(plan_, capacity),
      pool_(options.threads > 0 ? options.threads : usable_cpus(), [this](const Team& team) { walk(team); }) {
  for (const Stage& stage : plan_.stages) ARC_CHECK(stage.launch != nullptr) << op_name(stage.args);
  for (int32_t i = 0; i < pool_.threads(); ++i) samplers_.emplace_back(plan_.vocab);
}

void CpuExecutor::allocate_cache(const CacheCapacity& capacity) {
  cache_.emplace(plan_.groups, capacity);
  bound_.bind(plan_, weights_, *cache_);
  bind_scratch();
}

// Stages run one after the other, so they share one block, as large as the greediest needs. A rotation's "scratch" is
// its table.
void CpuExecutor::bind_scratch() {
  int64_t size = 0;
  std::vector<size_t> tables;
  for (size_t i = 0; i < plan_.stages.size(); ++i) {
    const Stage& stage = plan_.stages[i];
    size = std::max(
        {size, cpu::op_scratch_bytes(stage.args, pool_.threads()),
         cpu::product_scratch_bytes(stage.args, bound_.stage(i).weights, std::max(capacity_.tokens, capacity_.rows))});
    const auto* rope = std::get_if<RopeArgs>(&stage.args);
    tables.push_back(rope != nullptr ? rope_table(stage, *rope) : ropes_.size());
  }
  scratch_ = Tensor::zeros({size}, DType::u8);
  stage_scratch_.clear();
  for (size_t i = 0; i < plan_.stages.size(); ++i) {
    const bool rotates = std::holds_alternative<RopeArgs>(plan_.stages[i].args);
    stage_scratch_.push_back(rotates ? ropes_[tables[i]].values.data() : scratch_.data());
  }
}

// The table of a stage, made on first use.
size_t CpuExecutor::rope_table(const Stage& stage, const RopeArgs& args) {
  const double* frequencies = weights_.weights[stage.weights[0]].data.as<double>();
  const auto same = [&](const RopeTable& t) { return t.frequencies == frequencies && t.factors == args.factors; };
  const auto found = std::ranges::find_if(ropes_, same);
  const auto index = static_cast<size_t>(found - ropes_.begin());
  if (found == ropes_.end()) {
    ropes_.push_back({.frequencies = frequencies,
                      .factors = args.factors,
                      .pairs = args.dims / 2,
                      .values = Tensor::zeros({capacity_.tokens, args.dims}, DType::f32)});
  }
  return index;
}

void CpuExecutor::fill_rope_row(const RopeTable& table, int64_t token) const {
  const int32_t* begin = inputs_->q_start;
  const auto sequence = static_cast<int32_t>(std::upper_bound(begin, begin + inputs_->n_seqs, token) - begin - 1);
  const bool is_long = table.factors.is_long(known_tokens(*inputs_, sequence));
  const int32_t position = inputs_->positions[token];
  cpu::rope_row(table.frequencies + (is_long ? table.pairs : 0), table.pairs, table.factors.at(position, is_long),
                position, table.values.as<float>() + token * 2 * table.pairs);
}

// Every thread comes through here in each step; the rules of kernels/cpu/team.h hold.
void CpuExecutor::walk(const Team& team) noexcept {
  const StepInputs& inputs = *inputs_;
  const auto n_ropes = static_cast<int64_t>(ropes_.size());
  for (int64_t begin = 0, end = 0; cpu::claim(team, n_ropes * inputs.n_tokens, 16, begin, end);) {
    for (int64_t i = begin; i < end; ++i) {
      fill_rope_row(ropes_[static_cast<size_t>(i / inputs.n_tokens)], i % inputs.n_tokens);
    }
  }
  cpu::sync(team);
  for (size_t i = 0; i < plan_.stages.size(); ++i) {
    const Stage& stage = plan_.stages[i];
    Operands operands = bound_.operands(i, inputs);
    operands.team = team;
    operands.scratch = stage_scratch_[i];
    stage.launch(stage.args, operands);
    cpu::sync(team);
    if (!observer_) continue;
    for (int64_t begin = 0, end = 0; cpu::claim(team, 1, 1, begin, end);) observer_(i);
    cpu::sync(team);
  }
  const TensorView hidden = bound_.buffer(plan_.hidden), logits = bound_.buffer(plan_.logits);
  for (int64_t row = 0, end = 0; cpu::claim(team, inputs.n_rows, 1, row, end);) {
    copy_hidden(inputs, hidden, static_cast<int32_t>(row));
    sample_row(samplers_[static_cast<size_t>(team.thread)], inputs, logits, static_cast<int32_t>(row),
               results_[static_cast<size_t>(row)]);
  }
  cpu::sync(team);
}

RunOutcome CpuExecutor::run(const StepInputs& inputs, std::span<RowResult> results) noexcept {
  ARC_CHECK(inputs.n_tokens <= capacity_.tokens && inputs.n_rows <= capacity_.rows) << inputs.n_tokens << " tokens";
  for (int32_t i = 0; i < inputs.n_copies; ++i) cache_->copy(inputs.copies[i]);
  bound_.set_rows(plan_, inputs);
  inputs_ = &inputs;
  results_ = results;
  pool_.run(options_.threads == 0 && flops_per_token_ * inputs.n_tokens < kAloneFlops);
  return RunOutcome::ok;
}

void CpuExecutor::swap_out(std::span<const StepCopy> copies) noexcept {
  for (const StepCopy& copy : copies) cache_->swap_out(copy);
}

void CpuExecutor::swap_in(std::span<const StepCopy> copies) noexcept {
  for (const StepCopy& copy : copies) cache_->swap_in(copy);
}

std::string CpuExecutor::describe() const {
  std::set<std::string> formats;
  for (const Linear& weight : weights_.weights) {
    if (weight.format.pack != PackId::plain) formats.insert(to_string(weight.format));
  }
  std::string list;
  for (const std::string& format : formats) list += (list.empty() ? "" : ", ") + format;
  const int32_t n = pool_.threads();
  return fmt::format("cpu executor: {} kernels, {} thread{}, packed weights in {}", cpu::isa_name(options_.isa), n,
                     n == 1 ? "" : "s", list);
}

}  // namespace arc
