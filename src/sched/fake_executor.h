// Test only: executes step plans on a memory that stores, instead of keys and values, the identity of the prefix that
// produced them, so that any read through a wrong table, block or state is noticed at once.
#pragma once

#include <algorithm>
#include <cstdint>
#include <sstream>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "kv/cache_geometry.h"
#include "sched/invariants.h"
#include "sched/step_plan.h"

namespace arc {

// SplitMix64 (Steele, Lea, Flood 2014).
struct FakeRandom {
  uint64_t state = 0;
  uint64_t next() {
    uint64_t z = (state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }
  int32_t below(int32_t n) { return static_cast<int32_t>(next() % static_cast<uint64_t>(n)); }
  int32_t between(int32_t low, int32_t high) { return low + below(high - low + 1); }
  bool chance(double p) { return static_cast<double>(next() >> 11) * 0x1p-53 < p; }
};

inline uint64_t mix(uint64_t prefix, uint64_t item) {
  return FakeRandom{prefix * 0xD6E8FEB86659FD93u + item}.next();
}

inline constexpr int32_t kFakeVocab = 7;
inline constexpr int32_t kFakeStopToken = 0;

inline int32_t fake_next_token(uint64_t prefix, int32_t choice) {
  return static_cast<int32_t>(mix(prefix, 1000 + static_cast<uint64_t>(choice)) % kFakeVocab);
}

// What one answer is when it is computed alone: its tokens to the end, and the identity of the prefix at each position.
struct FakeTruth {
  uint64_t root = 0;  // of scope
  int32_t choice = 0, n_prompt = 0, max_len = 0;
  bool all_rows = false;
  std::vector<int32_t> tokens;
  std::vector<uint64_t> items;   // what the model reads at prompt positions: a token or a part of an embedded item
  std::vector<uint64_t> prefix;  // one per position
  int32_t n_rows_seen = 0;

  uint64_t before(int32_t position) const { return position == 0 ? root : prefix[position - 1]; }
  bool stopped(int32_t n_tokens) const { return n_tokens > n_prompt && tokens[n_tokens - 1] == kFakeStopToken; }

  // Extends `tokens` (at least the prompt) to the end of the answer.
  void finish() {
    prefix.clear();
    for (int32_t i = 0; i < max_len || i < n_prompt; ++i) {
      if (i == static_cast<int32_t>(tokens.size())) tokens.push_back(fake_next_token(prefix.back(), choice));
      prefix.push_back(mix(before(i), i < n_prompt ? items[i] : static_cast<uint64_t>(tokens[i])));
      if (stopped(i + 1)) break;
    }
  }
};

class FakeExecutor {
 public:
  explicit FakeExecutor(const CacheGeometry& geometry) {
    for (const CacheGroup& group : geometry.groups) {
      Memory memory;
      memory.is_state = group.kind == CacheGroup::Kind::state;
      memory.tokens_per_block = group.tokens_per_block;
      memory.window = group.window;
      memory.stride = memory.is_state ? 1 : group.tokens_per_block;
      memory.device.resize(static_cast<size_t>(group.n_blocks) * memory.stride);
      memory.swap.resize(static_cast<size_t>(group.n_swap_blocks) * memory.stride);
      memories_.push_back(std::move(memory));
    }
  }

  std::unordered_map<SeqId, FakeTruth> truths;
  std::string error;  // the first thing that went wrong

  // Runs the plan, or, to imitate a step that breaks off, only its first `n_sequences`. Spans live until the next run.
  StepResult run(const StepPlan& plan, FakeRandom& random, size_t n_sequences) {
    for (const BlockCopy& c : plan.swap_outs) copy(memories_[c.group].device, memories_[c.group].swap, c);
    for (const BlockCopy& c : plan.swap_ins) copy(memories_[c.group].swap, memories_[c.group].device, c);
    for (const BlockCopy& c : plan.copies) copy(memories_[c.group].device, memories_[c.group].device, c);
    storage_.resize(std::max(storage_.size(), plan.sequences.size()));
    StepResult result;
    for (size_t i = 0; i < std::min(n_sequences, plan.sequences.size()); ++i) {
      storage_[i].clear();
      const bool stopped = compute(plan.sequences[i], random, storage_[i]);
      result.sequences.push_back({.tokens = storage_[i], .stopped = stopped});
    }
    return result;
  }

  // Wipes what nobody may read any more.
  void poison(const Snapshot& snapshot) {
    for (size_t g = 0; g < memories_.size(); ++g) {
      Memory& memory = memories_[g];
      for (size_t b = 0; b < snapshot.groups[g].blocks.size(); ++b) {
        const Snapshot::Block& block = snapshot.groups[g].blocks[b];
        if (block.references > 0 || block.published) continue;
        std::fill_n(memory.device.begin() + static_cast<int64_t>(b) * memory.stride, memory.stride, Cell{});
      }
      for (size_t b = 0; b < snapshot.groups[g].swap_references.size(); ++b) {
        if (snapshot.groups[g].swap_references[b] > 0) continue;
        std::fill_n(memory.swap.begin() + static_cast<int64_t>(b) * memory.stride, memory.stride, Cell{});
      }
    }
  }

  template <typename... Parts>
  void fail(const Parts&... parts) {
    if (!error.empty()) return;
    std::ostringstream text;
    (text << ... << parts);
    error = text.str();
  }

 private:
  struct Cell {
    uint64_t prefix = 0;
    int32_t n = -1;  // of keys and values: the position; of a state: the positions folded into it
  };
  struct Memory {
    bool is_state = false;
    int32_t tokens_per_block = 0, window = 0, stride = 0;
    std::vector<Cell> device, swap;
  };

  void copy(const std::vector<Cell>& from, std::vector<Cell>& to, const BlockCopy& c) {
    const int32_t stride = memories_[c.group].stride;
    std::copy_n(from.begin() + int64_t{c.source} * stride, stride, to.begin() + int64_t{c.target} * stride);
  }

  void write(const Sequence& sequence, int32_t position, uint64_t prefix) {
    for (size_t g = 0; g < memories_.size(); ++g) {
      Memory& memory = memories_[g];
      if (memory.is_state) continue;
      const BlockTable& table = sequence.tables[g];
      const int32_t index = position / memory.tokens_per_block;
      if (index < table.first || index >= table.end()) {
        return fail("sequence ", sequence.id, " writes position ", position, " outside its table of group ", g);
      }
      memory.device[table.slot(position, memory.tokens_per_block)] = {.prefix = prefix, .n = position};
    }
  }

  // Reads back all that queries at [begin, end) see. `expected(j)` is the prefix identity at position j.
  template <typename Expected>
  void attend(const Sequence& sequence, int32_t begin, int32_t end, const Expected& expected) {
    for (size_t g = 0; g < memories_.size(); ++g) {
      const Memory& memory = memories_[g];
      if (memory.is_state) continue;
      const BlockTable& table = sequence.tables[g];
      const int32_t first = memory.window > 0 ? std::max(0, begin - memory.window + 1) : 0;
      if (first / memory.tokens_per_block < table.first) {
        return fail("sequence ", sequence.id, " lacks position ", first, " of group ", g);
      }
      for (int32_t j = first; j < end; ++j) {
        const Cell& cell = memory.device[table.slot(j, memory.tokens_per_block)];
        if (cell.n == j && cell.prefix == expected(j)) continue;
        return fail("sequence ", sequence.id, " reads a wrong position ", j, " (holds ", cell.n, ") of group ", g,
                    " while computing ", begin, " to ", end);
      }
    }
  }

  void advance_states(const PlannedSequence& planned, const FakeTruth& truth, int32_t end) {
    const int32_t begin = planned.first_position;
    for (size_t g = 0; g < memories_.size(); ++g) {
      Memory& memory = memories_[g];
      if (!memory.is_state) continue;
      const int32_t source = planned.state_read[g];
      const Cell state = source == kNoBlock ? Cell{.prefix = truth.root, .n = 0} : memory.device[source];
      if (state.n != begin || state.prefix != truth.before(begin)) {
        fail("sequence ", planned.sequence->id, " continues at ", begin, " from a state after ", state.n);
      }
      memory.device[planned.sequence->tables[g].blocks[0]] = {.prefix = truth.before(end), .n = end};
    }
  }

  bool fills_tile(int32_t position) const {
    return std::any_of(memories_.begin(), memories_.end(), [&](const Memory& memory) {
      return !memory.is_state && (position + 1) % memory.tokens_per_block == 0;
    });
  }

  void check_rows(const PlannedSequence& planned, FakeTruth& truth) {
    const Sequence& sequence = *planned.sequence;
    const int32_t end = planned.first_position + planned.n_tokens;
    const bool reaches = end - planned.n_drafts == sequence.n_tokens();
    int32_t expected = reaches ? 1 + planned.n_drafts : 0;
    if (truth.all_rows && planned.first_position > truth.n_rows_seen) fail("sequence ", sequence.id, " skips rows");
    if (truth.all_rows) expected = std::max(0, end - std::max(truth.n_rows_seen, planned.first_position));
    if (planned.n_rows != expected) fail("sequence ", sequence.id, " has ", planned.n_rows, " rows, not ", expected);
  }

  bool compute(const PlannedSequence& planned, FakeRandom& random, std::vector<int32_t>& out) {
    const Sequence& sequence = *planned.sequence;
    const auto it = truths.find(sequence.id);
    if (it == truths.end()) return fail("sequence ", sequence.id, " is unknown"), false;
    FakeTruth& truth = it->second;
    const int32_t begin = planned.first_position, end = begin + planned.n_tokens;
    const int32_t known = end - planned.n_drafts;  // positions before are tokens of the sequence
    if (begin != sequence.n_computed || known > sequence.n_tokens()) fail("sequence ", sequence.id, " skips positions");
    check_rows(planned, truth);
    draft_prefix_.clear();
    const auto prefix_at = [&](int32_t j) { return j < known ? truth.prefix[j] : draft_prefix_[j - known]; };
    for (int32_t p = begin; p < end; ++p) {
      const int32_t token = planned.token(p);
      if (p < known && token != truth.tokens[p]) return fail("sequence ", sequence.id, ": wrong token ", p), false;
      if (p >= known && fills_tile(p)) fail("sequence ", sequence.id, " seals a tile with a guess at ", p);
      if (p >= known) draft_prefix_.push_back(mix(prefix_at(p - 1), static_cast<uint64_t>(token)));
      write(sequence, p, prefix_at(p));
    }
    attend(sequence, begin, end, prefix_at);
    int32_t n_state = end;
    if (known == sequence.n_tokens() && truth.max_len > truth.n_prompt) {
      generate(planned, truth, random, out);
      n_state = known - 1 + static_cast<int32_t>(out.size());
    }
    advance_states(planned, truth, n_state);
    return !out.empty() && out.back() == kFakeStopToken;
  }

  // The accepted drafts and the token after them, or the tokens of a lease (perhaps not all of it).
  void generate(const PlannedSequence& planned, const FakeTruth& truth, FakeRandom& random, std::vector<int32_t>& out) {
    const Sequence& sequence = *planned.sequence;
    const int32_t last = sequence.n_tokens() - 1;
    const int32_t n_steps = planned.lease_tokens > 1 ? random.between(1, planned.lease_tokens) : 1 + planned.n_drafts;
    for (int32_t i = 0; i < n_steps; ++i) {
      const int32_t p = last + i;
      if (i > 0 && planned.n_drafts == 0) {
        write(sequence, p, truth.prefix[p]);
        attend(sequence, p, p + 1, [&](int32_t j) { return truth.prefix[j]; });
      }
      out.push_back(fake_next_token(read_prefix(planned, p, truth), truth.choice));
      const bool wrong_draft = i < planned.n_drafts && out.back() != sequence.drafts[i];
      if (out.back() == kFakeStopToken || wrong_draft || !error.empty()) return;
    }
  }

  // The prefix identity at a position, from the memory of the first group that has one per position.
  uint64_t read_prefix(const PlannedSequence& planned, int32_t position, const FakeTruth& truth) const {
    for (size_t g = 0; g < memories_.size(); ++g) {
      const Memory& memory = memories_[g];
      if (memory.is_state) continue;
      return memory.device[planned.sequence->tables[g].slot(position, memory.tokens_per_block)].prefix;
    }
    return truth.prefix[position];
  }

  std::vector<Memory> memories_;
  std::vector<std::vector<int32_t>> storage_;
  std::vector<uint64_t> draft_prefix_;
};

}  // namespace arc
