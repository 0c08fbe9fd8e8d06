// The rules that hold between any two steps and while a step is planned, checked on a plain copy of all bookkeeping.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace arc {

struct Snapshot {
  enum class Status : uint8_t { waiting, running, swapped };

  struct Block {
    int32_t references = 0;
    bool published = false, keep = false, waiting_for_remote = false;
  };
  struct Group {
    bool is_state = false;
    int32_t tokens_per_block = 0, window = 0;  // 0: no window
    int32_t n_available = 0, n_swap_available = 0;
    std::vector<Block> blocks;
    std::vector<int32_t> swap_references;
  };
  // A part of `ids`.
  struct Table {
    int32_t first = 0, begin = 0, count = 0;
  };
  struct Sequence {
    uint64_t id = 0;
    uint64_t arrival = 0;
    Status status = Status::waiting;
    int32_t n_prompt = 0, n_tokens = 0, n_computed = 0, max_len = 0, n_published = 0, n_chain = 0, n_unborn = 0;
    int32_t first_table = 0, first_swap_table = 0;  // in `tables`, one per group
    int32_t n_planned = 0;                          // positions from n_computed on that the step in flight writes
    bool preempted = false;                         // the step in flight copies it to swap space
  };
  struct Node {
    int32_t parent = -1, n_children = 0;
    int32_t first_block = 0;  // in `ids`, one per group or -1
  };
  struct Hold {
    int group = 0;
    int32_t block = 0;
  };

  std::vector<Group> groups;
  std::vector<Sequence> sequences;  // running in order, then the others in order
  std::vector<Table> tables;
  std::vector<int32_t> ids;
  std::vector<Node> nodes;
  std::vector<Hold> holds;  // references of pins, and of table entries that a step in flight replaced
  int32_t tile_tokens = 0;
  int32_t n_plan_tokens = 0, max_plan_tokens = 0;  // of the step in flight
  int64_t n_added = 0, n_finished = 0;             // answers, since the beginning
};

// Every broken rule, in words; empty when all is well.
std::vector<std::string> validate(const Snapshot& snapshot);

}  // namespace arc
