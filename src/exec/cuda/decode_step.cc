#include "exec/cuda/decode_step.h"

#include <algorithm>
#include <numeric>

#include "base/check.h"

namespace arc {
namespace {

// The first n of `from` (null: none), then `rest` up to `size`.
template <typename T>
const T* filled(std::vector<T>& into, const T* from, int64_t n, int64_t size, T rest) {
  into.assign(static_cast<size_t>(size), rest);
  if (from != nullptr) std::copy_n(from, n, into.begin());
  return into.data();
}

}  // namespace

bool is_decode(const StepInputs& inputs) noexcept {
  if (inputs.n_seqs == 0 || inputs.n_tokens != inputs.n_seqs || inputs.n_rows != inputs.n_seqs) return false;
  if (inputs.n_prompts > 0) return false;
  for (int32_t s = 0; s < inputs.n_seqs; ++s) {
    if (inputs.q_start[s] != s || inputs.rows[s] != s) return false;
  }
  return inputs.adapter == nullptr && inputs.embed_row == nullptr && inputs.span_end == nullptr;
}

const StepInputs& DecodeStep::pad(const StepInputs& inputs, int32_t n_rows) {
  const int32_t n = inputs.n_rows;
  ARC_CHECK(n <= n_rows) << n << " of " << n_rows;
  inputs_ = inputs;
  inputs_.n_seqs = inputs_.n_tokens = inputs_.n_rows = n_rows;
  inputs_.tokens = filled(tokens_, inputs.tokens, n, n_rows, 0);
  inputs_.positions = filled(positions_, inputs.positions, n, n_rows, 0);
  inputs_.seq_lens = filled(seq_lens_, inputs.seq_lens, n, n_rows, 1);
  inputs_.known_lens =
      filled(known_lens_, inputs.known_lens != nullptr ? inputs.known_lens : inputs.seq_lens, n, n_rows, 1);
  inputs_.sampling = filled(sampling_, inputs.sampling, n, n_rows, SamplingRow{.temperature = 0.0f});
  inputs_.row_token = filled(row_token_, inputs.row_token, n, n_rows, -1);
  inputs_.row_logits = filled(row_logits_, inputs.row_logits, n, n_rows, static_cast<float*>(nullptr));
  q_start_.resize(static_cast<size_t>(n_rows) + 1);
  std::iota(q_start_.begin(), q_start_.end(), 0);
  inputs_.q_start = q_start_.data();
  rows_.resize(static_cast<size_t>(n_rows));
  std::iota(rows_.begin(), rows_.end(), 0);
  inputs_.rows = rows_.data();
  for (size_t g = 0; g < plan_.groups.size(); ++g) {
    const GroupInputs& from = inputs.groups[g];
    GroupInputs& to = inputs_.groups[g];
    if (plan_.groups[g].kind == CacheKind::state) {
      to.state_read = filled(groups_[g].state_read, from.state_read, n, n_rows, -1);
      to.state_write = filled(groups_[g].state_write, from.state_write, n, n_rows, 0);
    } else {
      std::vector<int32_t>& table = groups_[g].table;
      table.resize(static_cast<size_t>(n_rows) * static_cast<size_t>(from.table_stride));
      groups_[g].table_copy.write(inputs, static_cast<int>(g), plan_.groups[g].policy.tile_tokens, n, n_rows,
                                  table.data());
      to.block_table = table.data();
      to.slots = filled(groups_[g].slots, from.slots, n, n_rows, int64_t{0});
    }
  }
  return inputs_;
}

}  // namespace arc
