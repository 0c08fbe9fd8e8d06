#include "gpu/decoder.h"

#include <algorithm>
#include <stdexcept>

#include "fmt/format.h"

#include "io/safetensors.h"

namespace arc::test {
namespace {

constexpr int kPlaces = 4;

Checkpoint checkpoint(const Golden& golden, const std::filesystem::path& folder) {
  write_checkpoint(golden, DType::bf16, folder / "model.safetensors");
  return open_safetensors(folder / "model.safetensors");
}

// Sequence i's: one is greedy, one has penalties.
SamplingRow sampling_of(int i) {
  SamplingRow row{
      .temperature = 0.8f, .top_p = 0.95f, .n_logprobs = 0, .seed = 77, .sequence = static_cast<uint32_t>(i)};
  if (i == 1) row = {.temperature = 0.0f};
  if (i == 2) {
    row.repetition_penalty = 1.2f;
    row.frequency_penalty = 0.3f;
    row.counts_row = i;
    row.top_k = 30;
  }
  return row;
}

}  // namespace

Decoder::Decoder(const Golden& golden, const std::filesystem::path& folder, const Target& target, int answer_tokens,
                 int max_tokens)
    : golden_(golden),
      answer_tokens_(answer_tokens),
      max_tokens_(max_tokens),
      tiny_(golden.config_json, checkpoint(golden, folder),
            {.cache = DType::bf16, .backend = target.backend, .places = kPlaces, .max_tokens = max_tokens}),
      executor_(dynamic_cast<CudaExecutor&>(tiny_.inspected().executor())) {}

std::vector<Sequence> Decoder::prompts(int n) {
  tiny_.clear_cache();
  Tokens reversed(golden_.tokens.rbegin(), golden_.tokens.rend());
  const Tokens half(golden_.tokens.begin() + static_cast<ptrdiff_t>(golden_.tokens.size() / 2), golden_.tokens.end());
  const Tokens all[] = {golden_.tokens, reversed, half};
  const auto room = static_cast<size_t>(max_tokens_ - answer_tokens_ - 8);
  std::vector<Sequence> out;
  for (int i = 0; i < n; ++i) {
    Sequence s{.place = i, .tokens = all[i], .sampling = sampling_of(i)};
    if (s.tokens.size() > room) s.tokens.resize(room);
    s.n_prompt = s.tokens.size();
    const TinyModel::Piece piece{.tokens = std::span(s.tokens).first(s.n_prompt - 1), .place = i};
    TinyModel::Outputs outputs;
    if (!piece.tokens.empty()) tiny_.step({&piece, 1}, outputs);
    out.push_back(std::move(s));
  }
  tiny_.inspected().set_observer({});
  return out;
}

void Decoder::steps(std::vector<Sequence>& sequences, int n, bool graphs) {
  executor_.set_graphs(graphs);
  std::vector<RowResult> results(sequences.size());
  for (int i = 0; i < n; ++i) {
    if (executor_.run(fill(sequences), results) != RunOutcome::ok) throw std::runtime_error("the device failed");
    for (size_t r = 0; r < sequences.size(); ++r) {
      if (results[r].outcome != SampleOutcome::ok) throw std::runtime_error("a row was not drawn");
      sequences[r].tokens.push_back(results[r].token);
    }
  }
  executor_.set_graphs(false);
}

void Decoder::lease(std::vector<Sequence>& sequences, int n, const Tokens& limits, const Tokens& stop_ids,
                    std::atomic<int32_t>* attention, const std::function<void()>& on_token) {
  StepInputs inputs = fill(sequences);
  LoopControl control{.lease = n, .attention = attention};
  if (!limits.empty()) control.tokens_left = limits.data();
  control.stop_ids = stop_ids.data();
  control.n_stop_ids = static_cast<int32_t>(stop_ids.size() / sequences.size());
  inputs.control = &control;
  if (!executor_.can_lease(inputs)) throw std::runtime_error("no lease: " + executor_.describe());
  std::string broken;
  const RunOutcome outcome = executor_.run_lease(inputs, [&](std::span<const LeaseToken> tokens) {
    for (const LeaseToken& t : tokens) {
      if (t.outcome != SampleOutcome::ok) broken = "a row was not drawn";
      sequences[static_cast<size_t>(t.row)].tokens.push_back(t.token);
      if (on_token) on_token();
    }
  });
  if (outcome != RunOutcome::ok) throw std::runtime_error("the device failed: " + executor_.describe());
  if (!broken.empty()) throw std::runtime_error(broken);
}

// As TinyModel places sequences.
const StepInputs& Decoder::fill(const std::vector<Sequence>& sequences) {
  const int tiles = max_tokens_ / kTileTokens;
  const auto n = static_cast<int32_t>(sequences.size());
  const auto vocab = static_cast<size_t>(tiny_.plan().vocab);
  for (auto* list : {&tokens_, &positions_, &seq_lens_, &known_lens_, &rows_, &table_, &state_}) list->clear();
  q_start_.assign(1, 0);
  slots_.clear();
  sampling_.clear();
  counts_.assign(sequences.size() * vocab, 0);
  for (const Sequence& s : sequences) {
    const auto position = static_cast<int32_t>(s.tokens.size()) - 1;
    tokens_.push_back(s.tokens.back());
    positions_.push_back(position);
    seq_lens_.push_back(position + 1);
    known_lens_.push_back(static_cast<int32_t>(s.n_prompt) + answer_tokens_);  // a lease never crosses a rope's switch
    rows_.push_back(static_cast<int32_t>(rows_.size()));
    q_start_.push_back(static_cast<int32_t>(rows_.size()));
    for (int i = 0; i < tiles; ++i) table_.push_back(1 + s.place * tiles + i);
    slots_.push_back(int64_t{1 + s.place * tiles} * kTileTokens + position);
    state_.push_back(1 + s.place);
    SamplingRow& row = sampling_.emplace_back(s.sampling);
    row.position = static_cast<uint32_t>(position + 1);
    if (row.counts_row < 0) continue;
    row.counts_row = static_cast<int32_t>(sampling_.size()) - 1;
    uint32_t* counts = counts_.data() + (sampling_.size() - 1) * vocab;
    for (size_t i = 0; i < s.tokens.size(); ++i) {
      uint32_t& count = counts[s.tokens[i]];
      count = i < s.n_prompt ? count | kInPrompt : count + 1;
    }
  }
  inputs_ = {.n_seqs = n,
             .n_tokens = n,
             .n_rows = n,
             .tokens = tokens_.data(),
             .positions = positions_.data(),
             .q_start = q_start_.data(),
             .seq_lens = seq_lens_.data(),
             .known_lens = known_lens_.data()};
  for (GroupInputs& group : inputs_.groups) {
    group = {.block_table = table_.data(), .table_stride = tiles, .slots = slots_.data()};
    group.state_read = group.state_write = state_.data();
  }
  inputs_.rows = rows_.data();
  inputs_.sampling = sampling_.data();
  inputs_.tables.counts = counts_.data();
  return inputs_;
}

std::string difference(const std::vector<Sequence>& got, const std::vector<Sequence>& expected) {
  for (size_t i = 0; i < got.size(); ++i) {
    const Tokens &g = got[i].tokens, &e = expected[i].tokens;
    const auto at = std::ranges::mismatch(g, e);
    if (at.in1 == g.end() && at.in2 == e.end()) continue;
    const auto n = static_cast<size_t>(at.in1 - g.begin());
    return fmt::format("sequence {}: {} tokens instead of {}, other from answer token {} on ({} instead of {})", i,
                       g.size() - got[i].n_prompt, e.size() - expected[i].n_prompt,
                       static_cast<int64_t>(n) - static_cast<int64_t>(got[i].n_prompt), n < g.size() ? g[n] : -1,
                       n < e.size() ? e[n] : -1);
  }
  return {};
}

}  // namespace arc::test
