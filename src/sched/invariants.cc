#include "sched/invariants.h"

#include <algorithm>
#include <set>
#include <sstream>
#include <utility>

namespace arc {
namespace {

using Status = Snapshot::Status;

class Checker {
 public:
  explicit Checker(const Snapshot& snapshot) : s_(snapshot) {}

  std::vector<std::string> run() {
    for (const Snapshot::Group& group : s_.groups) {
      owners_.emplace_back(group.blocks.size(), 0);
      swap_owners_.emplace_back(group.swap_references.size(), 0);
      nodes_of_.emplace_back(group.blocks.size(), 0);
      if (!group.blocks.empty()) owners_.back()[0] = 1;  // the dummy sequence
    }
    check_nodes();
    check_sequences();
    for (const Snapshot::Hold& hold : s_.holds) {
      if (valid_block(hold.group, hold.block)) ++owners_[hold.group][hold.block];
    }
    check_blocks();
    check_totals();
    return std::move(violations_);
  }

 private:
  template <typename... Parts>
  void require(bool condition, const Parts&... parts) {
    if (condition) return;
    std::ostringstream text;
    (text << ... << parts);
    violations_.push_back(text.str());
  }

  size_t n_groups() const { return s_.groups.size(); }

  bool valid_block(size_t g, int32_t block) {
    const bool valid = block > 0 && block < static_cast<int32_t>(s_.groups[g].blocks.size());
    require(valid, "group ", g, ": block ", block, " does not exist or is the dummy's");
    return valid;
  }

  void check_nodes() {
    std::vector<int32_t> n_children(s_.nodes.size(), 0);
    for (size_t i = 0; i < s_.nodes.size(); ++i) {
      const Snapshot::Node& node = s_.nodes[i];
      if (node.parent >= 0) ++n_children[node.parent];
      bool used = node.n_children > 0;
      for (size_t g = 0; g < n_groups(); ++g) {
        const int32_t block = s_.ids[node.first_block + g];
        if (block < 0) continue;
        used = true;
        if (valid_block(g, block)) ++nodes_of_[g][block];
      }
      require(used, "prefix node ", i, " holds nothing");
    }
    for (size_t i = 0; i < s_.nodes.size(); ++i) {
      require(n_children[i] == s_.nodes[i].n_children, "prefix node ", i, " miscounts its children");
    }
  }

  void check_sequences() {
    for (size_t i = 0; i < s_.sequences.size(); ++i) {
      const Snapshot::Sequence& seq = s_.sequences[i];
      check_tokens(seq);
      for (size_t g = 0; g < n_groups(); ++g) check_table(seq, g);
      for (size_t g = 0; g < n_groups(); ++g) check_swap_table(seq, g);
      if (i == 0) continue;
      const Snapshot::Sequence& previous = s_.sequences[i - 1];
      const bool same_list = (previous.status == Status::running) == (seq.status == Status::running);
      require(!same_list || std::pair(previous.arrival, previous.id) < std::pair(seq.arrival, seq.id), "sequence ",
              seq.id, " is out of order");
    }
  }

  void check_tokens(const Snapshot::Sequence& seq) {
    require(0 < seq.n_prompt && seq.n_prompt <= seq.n_tokens && seq.n_tokens <= seq.max_len, "sequence ", seq.id,
            ": lengths ", seq.n_prompt, ", ", seq.n_tokens, ", ", seq.max_len, " are out of order");
    require(0 <= seq.n_computed && seq.n_computed < seq.n_tokens, "sequence ", seq.id, ": ", seq.n_computed, " of ",
            seq.n_tokens, " tokens computed");
    require(seq.n_computed + seq.n_planned <= std::max(seq.max_len - 1, seq.n_prompt), "sequence ", seq.id,
            " would run past its length");
    require(seq.n_published * s_.tile_tokens <= seq.n_computed, "sequence ", seq.id, " published what is not computed");
    require(seq.n_chain * s_.tile_tokens <= seq.n_tokens, "sequence ", seq.id, " hashed what is not known");
    require(seq.n_unborn == 0 || seq.n_computed < seq.n_prompt - 1, "sequence ", seq.id, " should have split");
    const bool fresh = seq.status != Status::waiting || seq.n_planned > 0 || seq.n_computed == 0;
    require(fresh, "sequence ", seq.id, " waits with ", seq.n_computed, " positions computed");
  }

  void check_table(const Snapshot::Sequence& seq, size_t g) {
    const Snapshot::Group& group = s_.groups[g];
    const Snapshot::Table& table = s_.tables[seq.first_table + g];
    for (int32_t i = 0; i < table.count; ++i) {
      const int32_t block = s_.ids[table.begin + i];
      if (!valid_block(g, block)) continue;
      ++owners_[g][block];
      require(!group.blocks[block].waiting_for_remote, "sequence ", seq.id, " uses block ", block,
              " before it arrived");
    }
    const bool placed = seq.status == Status::running || seq.n_planned > 0;
    if (!placed) {
      require(table.count == 0, "sequence ", seq.id, " is not running but holds blocks of group ", g);
      return;
    }
    const int32_t end = seq.n_computed + seq.n_planned;
    int32_t first_written = 0, end_written = 0;  // entries
    if (group.is_state) {
      require(table.count == (end > 0 ? 1 : 0), "sequence ", seq.id, " holds ", table.count, " states of group ", g);
      end_written = seq.n_planned > 0 ? table.count : 0;
    } else {
      const int32_t b = group.tokens_per_block;
      const int32_t needed = group.window > 0 ? std::max(0, seq.n_computed - group.window + 1) / b : 0;
      require(table.first == needed, "sequence ", seq.id, ": table of group ", g, " begins at block ", table.first,
              ", not ", needed);
      require((table.first + table.count) * b >= end, "sequence ", seq.id, ": positions to ", end,
              " are not covered in group ", g);
      if (seq.n_planned > 0) {
        first_written = seq.n_computed / b - table.first;
        end_written = std::min((end + b - 1) / b - table.first, table.count);
      }
    }
    for (int32_t i = first_written; i < end_written; ++i) {
      const int32_t block = s_.ids[table.begin + i];
      if (!valid_block(g, block)) continue;
      require(group.blocks[block].references == 1, "sequence ", seq.id, " writes to shared block ", block, " of group ",
              g);
      require(!group.blocks[block].published, "sequence ", seq.id, " writes to sealed block ", block, " of group ", g);
    }
  }

  void check_swap_table(const Snapshot::Sequence& seq, size_t g) {
    const Snapshot::Group& group = s_.groups[g];
    const Snapshot::Table& table = s_.tables[seq.first_swap_table + g];
    const bool swapped = seq.status == Status::swapped || seq.preempted;
    const int32_t b = group.tokens_per_block;
    const int32_t end = group.is_state ? 1 : (seq.n_computed + b - 1) / b;
    require(table.count == (swapped ? end - table.first : 0), "sequence ", seq.id, " has ", table.count,
            " swap blocks of group ", g);
    for (int32_t i = 0; i < table.count; ++i) {
      const int32_t block = s_.ids[table.begin + i];
      const bool valid = block >= 0 && block < static_cast<int32_t>(group.swap_references.size());
      require(valid, "group ", g, ": swap block ", block, " does not exist");
      if (valid) ++swap_owners_[g][block];
    }
  }

  void check_blocks() {
    for (size_t g = 0; g < n_groups(); ++g) {
      const Snapshot::Group& group = s_.groups[g];
      int32_t n_available = 0, n_swap_available = 0;
      for (size_t b = 0; b < group.blocks.size(); ++b) {
        const Snapshot::Block& block = group.blocks[b];
        require(block.references == owners_[g][b], "group ", g, ": block ", b, " counts ", block.references,
                " references but has ", owners_[g][b], " owners");
        require(nodes_of_[g][b] == (block.published ? 1 : 0), "group ", g, ": block ", b,
                " and the prefix index disagree");
        require(block.published == block.keep, "group ", g, ": block ", b,
                " is kept without being published, or not kept");
        require(!block.waiting_for_remote || block.references > 0, "group ", g, ": block ", b, " waits but is free");
        n_available += block.references == 0;
      }
      for (size_t b = 0; b < group.swap_references.size(); ++b) {
        require(swap_owners_[g][b] <= 1 && group.swap_references[b] == swap_owners_[g][b], "group ", g, ": swap block ",
                b, " counts ", group.swap_references[b], " references but has ", swap_owners_[g][b], " owners");
        n_swap_available += group.swap_references[b] == 0;
      }
      require(n_available == group.n_available, "group ", g, ": ", group.n_available, " blocks said available, ",
              n_available, " are");
      require(n_swap_available == group.n_swap_available, "group ", g, ": ", group.n_swap_available,
              " swap blocks said available, ", n_swap_available, " are");
    }
  }

  void check_totals() {
    std::set<uint64_t> ids;
    int64_t n_alive = 0;
    for (const Snapshot::Sequence& seq : s_.sequences) {
      require(ids.insert(seq.id).second, "sequence ", seq.id, " is listed twice");
      n_alive += 1 + seq.n_unborn;
    }
    require(s_.n_added == s_.n_finished + n_alive, s_.n_added, " answers were added, ", s_.n_finished, " ended and ",
            n_alive, " are alive");
    require(s_.n_plan_tokens <= s_.max_plan_tokens, s_.n_plan_tokens, " tokens planned of ", s_.max_plan_tokens);
  }

  const Snapshot& s_;
  std::vector<std::vector<int32_t>> owners_, swap_owners_, nodes_of_;
  std::vector<std::string> violations_;
};

}  // namespace

std::vector<std::string> validate(const Snapshot& snapshot) {
  return Checker(snapshot).run();
}

}  // namespace arc
