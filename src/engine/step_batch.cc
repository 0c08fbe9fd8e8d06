#include "engine/step_batch.h"

#include <algorithm>

#include "base/check.h"

namespace arc {

StepBatch::StepBatch(const CacheGeometry& geometry, int32_t max_tokens, int32_t max_seqs, int32_t max_seq_len)
    : geometry_(geometry), table_stride_(blocks_for_tokens(max_seq_len, geometry.tile_tokens()) + 1) {
  for (auto* list : {&tokens_, &positions_, &rows_, &row_token_}) list->reserve(static_cast<size_t>(max_tokens));
  for (auto* list : {&q_start_, &seq_lens_, &known_lens_, &row_begin_})
    list->reserve(static_cast<size_t>(max_seqs) + 1);
  sampling_.reserve(static_cast<size_t>(max_tokens));
  row_logits_.reserve(static_cast<size_t>(max_tokens));
  row_hidden_.reserve(static_cast<size_t>(max_tokens));
  groups_.resize(geometry.groups.size());
  for (Group& group : groups_) {
    group.block_table.assign(static_cast<size_t>(max_seqs) * table_stride_, kDummyBlock);
    group.row_ends.assign(static_cast<size_t>(max_seqs), 0);
    group.slots.reserve(static_cast<size_t>(max_tokens));
    group.state_read.reserve(static_cast<size_t>(max_seqs));
    group.state_write.reserve(static_cast<size_t>(max_seqs));
  }
}

void StepBatch::add_sequence(const PlannedSequence& planned) {
  const Sequence& sequence = *planned.sequence;
  const int32_t end = planned.first_position + planned.n_tokens;
  for (int32_t p = planned.first_position; p < end; ++p) {
    tokens_.push_back(planned.token(p));
    positions_.push_back(p);
  }
  q_start_.push_back(static_cast<int32_t>(tokens_.size()));
  seq_lens_.push_back(end);
  known_lens_.push_back(sequence.n_tokens());
  for (size_t g = 0; g < groups_.size(); ++g) {
    const BlockTable& table = sequence.tables[g];
    Group& group = groups_[g];
    if (geometry_.groups[g].kind == CacheGroup::Kind::state) {
      group.state_read.push_back(planned.state_read[g]);
      group.state_write.push_back(table.blocks[0]);
      continue;
    }
    for (int32_t p = planned.first_position; p < end; ++p)
      group.slots.push_back(table.slot(p, geometry_.groups[g].tokens_per_block));
    set_table_row(group, seq_lens_.size() - 1, table);
  }
}

// Most of a long row is behind the sequence's end: it is not written in each step.
void StepBatch::set_table_row(Group& group, size_t row, const BlockTable& table) const {
  ARC_CHECK(table.end() <= table_stride_) << table.end();
  int32_t* const begin = group.block_table.data() + row * static_cast<size_t>(table_stride_);
  std::fill_n(begin, table.first, kDummyBlock);
  int32_t* const end = std::ranges::copy(table.blocks, begin + table.first).out;
  int32_t& row_end = group.row_ends[row];
  if (begin + row_end > end) std::fill(end, begin + row_end, kDummyBlock);
  row_end = table.end();
}

// The last n_rows positions reach the head. A row inside the prompt is only scored: its token is the prompt's next one.
void StepBatch::add_rows(const PlannedSequence& planned, const RowSettings& settings) {
  const Sequence& sequence = *planned.sequence;
  const int32_t end = planned.first_position + planned.n_tokens;
  SamplingRow row = settings.row;
  row.bias_begin = static_cast<int32_t>(biases_.size());
  row.bias_count = 0;
  if (settings.biases != nullptr) {
    row.bias_count = static_cast<int32_t>(settings.biases->size());
    biases_.insert(biases_.end(), settings.biases->begin(), settings.biases->end());
  }
  for (int32_t p = end - planned.n_rows; p < end; ++p) {
    const bool scored = p + 1 < sequence.n_prompt;
    row.position = static_cast<uint32_t>(p + 1);
    row.n_logprobs = scored ? settings.n_prompt_logprobs : settings.row.n_logprobs;
    rows_.push_back(static_cast<int32_t>(tokens_.size()) - end + p);
    row_token_.push_back(scored ? sequence.tokens[p + 1] : -1);
    sampling_.push_back(row);
    row_hidden_.push_back(settings.hidden == nullptr ? nullptr
                                                     : settings.hidden + int64_t{settings.dim} * row_hidden_.size());
    const bool wanted = settings.prompt_logits != nullptr && p < sequence.n_prompt;
    row_logits_.push_back(wanted ? settings.prompt_logits + int64_t{p} * settings.vocab : nullptr);
  }
  row_begin_.push_back(static_cast<int32_t>(rows_.size()));
}

const StepInputs& StepBatch::fill(const StepPlan& plan, const std::function<RowSettings(size_t)>& settings) {
  for (auto* list : {&tokens_, &positions_, &rows_, &row_token_, &seq_lens_, &known_lens_}) list->clear();
  q_start_.assign(1, 0);
  row_begin_.assign(1, 0);
  sampling_.clear();
  row_logits_.clear();
  row_hidden_.clear();
  biases_.clear();
  for (Group& group : groups_) {
    for (auto* list : {&group.state_read, &group.state_write}) list->clear();
    group.slots.clear();
  }
  inputs_.n_prompts = 0;
  for (size_t i = 0; i < plan.sequences.size(); ++i) {
    add_sequence(plan.sequences[i]);
    add_rows(plan.sequences[i], settings(i));
    if (plan.sequences[i].is_prefill) ++inputs_.n_prompts;
  }
  copies_ = to_step_copies(plan.copies);

  inputs_.n_seqs = static_cast<int32_t>(plan.sequences.size());
  inputs_.n_tokens = static_cast<int32_t>(tokens_.size());
  inputs_.n_rows = static_cast<int32_t>(rows_.size());
  inputs_.tokens = tokens_.data();
  inputs_.positions = positions_.data();
  inputs_.q_start = q_start_.data();
  inputs_.seq_lens = seq_lens_.data();
  inputs_.known_lens = known_lens_.data();
  inputs_.rows = rows_.data();
  inputs_.row_token = row_token_.data();
  inputs_.row_logits = row_logits_.data();
  inputs_.row_hidden = row_hidden_.data();
  inputs_.sampling = sampling_.data();
  inputs_.tables.biases = biases_.data();
  inputs_.copies = copies_.data();
  inputs_.n_copies = static_cast<int32_t>(copies_.size());
  for (size_t g = 0; g < groups_.size(); ++g) {
    inputs_.groups[g] = {
        .block_table = groups_[g].block_table.data(), .table_stride = table_stride_, .slots = groups_[g].slots.data()};
    inputs_.groups[g].state_read = groups_[g].state_read.data();
    inputs_.groups[g].state_write = groups_[g].state_write.data();
  }
  return inputs_;
}

std::vector<StepCopy> StepBatch::to_step_copies(const std::vector<BlockCopy>& copies) {
  std::vector<StepCopy> out;
  out.reserve(copies.size());
  for (const BlockCopy& copy : copies) out.push_back({.group = copy.group, .from = copy.source, .to = copy.target});
  return out;
}

}  // namespace arc
