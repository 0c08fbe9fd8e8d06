// Every rule of validate() fires when its subject is broken: a sound snapshot is damaged in one place at a time.
#include "sched/invariants.h"

#include <algorithm>
#include <functional>
#include <string>

#include "gtest/gtest.h"

namespace arc {
namespace {

using Status = Snapshot::Status;

// Two groups (keys with blocks of 4; a state). Sequence 1 runs and writes positions 5 and 6; sequence 2 is swapped; 3
// waits. Block 1 of the first group is published.
Snapshot sound() {
  Snapshot s;
  s.tile_tokens = 4;
  s.groups.resize(2);
  s.groups[0] = {.tokens_per_block = 4, .n_available = 1, .n_swap_available = 1};
  s.groups[0].blocks = {
      {.references = 1}, {.references = 1, .published = true, .keep = true}, {.references = 1}, {.references = 0}};
  s.groups[0].swap_references = {1, 0};
  s.groups[1] = {.is_state = true, .tokens_per_block = 4, .n_available = 1};
  s.groups[1].blocks = {{.references = 1}, {.references = 1}, {.references = 0}};
  s.groups[1].swap_references = {1};
  s.ids = {1, 2, 1, 0, 0, 1, -1};
  s.tables = {{.begin = 0, .count = 2},
              {.begin = 2, .count = 1},
              {},
              {},  // sequence 1: device, then swap
              {},
              {},
              {.begin = 3, .count = 1},
              {.begin = 4, .count = 1},  // 2
              {},
              {},
              {},
              {}};  // 3
  s.nodes = {{.first_block = 5}};
  s.sequences = {{.id = 1,
                  .arrival = 1,
                  .status = Status::running,
                  .n_prompt = 7,
                  .n_tokens = 7,
                  .n_computed = 5,
                  .max_len = 9,
                  .n_published = 1,
                  .n_chain = 1,
                  .first_table = 0,
                  .first_swap_table = 2,
                  .n_planned = 2},
                 {.id = 2,
                  .arrival = 2,
                  .status = Status::swapped,
                  .n_prompt = 3,
                  .n_tokens = 4,
                  .n_computed = 3,
                  .max_len = 9,
                  .first_table = 4,
                  .first_swap_table = 6},
                 {.id = 3,
                  .arrival = 3,
                  .n_prompt = 3,
                  .n_tokens = 3,
                  .max_len = 4,
                  .n_unborn = 1,
                  .first_table = 8,
                  .first_swap_table = 10}};
  s.n_plan_tokens = 2;
  s.max_plan_tokens = 8;
  s.n_added = 5;
  s.n_finished = 1;
  return s;
}

TEST(Invariants, ASoundSnapshotHasNoViolation) {
  EXPECT_EQ(validate(sound()), std::vector<std::string>{});
}

TEST(Invariants, EveryRuleNoticesItsDamage) {
  struct Damage {
    std::string expected;  // part of a violation
    std::function<void(Snapshot&)> apply;
  };
  const std::vector<Damage> damages = {
      {"counts 2 references but has 1 owners", [](Snapshot& s) { s.groups[0].blocks[2].references = 2; }},
      {"counts 0 references but has 1 owners", [](Snapshot& s) { s.groups[0].blocks[2].references = 0; }},
      {"counts 0 references but has 1 owners", [](Snapshot& s) { s.groups[1].blocks[0].references = 0; }},
      {"1 references but has 2 owners", [](Snapshot& s) { s.holds.push_back({.group = 0, .block = 2}); }},
      {"1 blocks said available, 2 are", [](Snapshot& s) { s.groups[0].blocks[2].references = 0; }},
      {"2 blocks said available, 1 are", [](Snapshot& s) { s.groups[0].n_available = 2; }},
      {"writes to shared block",
       [](Snapshot& s) {
         s.groups[0].blocks[2].references = 2;
         s.holds.push_back({.group = 0, .block = 2});
       }},
      {"writes to shared block",
       [](Snapshot& s) {
         s.groups[1].blocks[1].references = 2;
         s.holds.push_back({.group = 1, .block = 1});
       }},
      {"writes to sealed block", [](Snapshot& s) { s.groups[0].blocks[2].published = true; }},
      {"block 9 does not exist", [](Snapshot& s) { s.ids[1] = 9; }},
      {"block 0 does not exist or is the dummy's", [](Snapshot& s) { s.ids[1] = 0; }},
      {"are not covered", [](Snapshot& s) { s.sequences[0].n_planned = 4; }},
      {"begins at block 0, not 1", [](Snapshot& s) { s.groups[0].window = 2; }},
      {"holds 0 states", [](Snapshot& s) { s.tables[1].count = 0; }},
      {"is not running but holds blocks", [](Snapshot& s) { s.tables[8] = {.begin = 0, .count = 1}; }},
      {"uses block 2 before it arrived", [](Snapshot& s) { s.groups[0].blocks[2].waiting_for_remote = true; }},
      {"waits but is free", [](Snapshot& s) { s.groups[0].blocks[3].waiting_for_remote = true; }},
      {"prefix index disagree", [](Snapshot& s) { s.groups[0].blocks[1].published = false; }},
      {"prefix index disagree", [](Snapshot& s) { s.ids[5] = 3; }},
      {"is kept without being published", [](Snapshot& s) { s.groups[0].blocks[3].keep = true; }},
      {"holds nothing", [](Snapshot& s) { s.ids[5] = -1; }},
      {"miscounts its children", [](Snapshot& s) { s.nodes[0].n_children = 1; }},
      {"has 0 swap blocks", [](Snapshot& s) { s.tables[6].count = 0; }},
      {"has 1 swap blocks", [](Snapshot& s) { s.tables[10] = {.begin = 3, .count = 1}; }},
      {"swap block 7 does not exist", [](Snapshot& s) { s.ids[3] = 7; }},
      {"swap block 1 counts 1 references but has 0 owners", [](Snapshot& s) { s.groups[0].swap_references[1] = 1; }},
      {"swap blocks said available", [](Snapshot& s) { s.groups[0].n_swap_available = 2; }},
      {"out of order", [](Snapshot& s) { s.sequences[0].n_tokens = 10; }},
      {"out of order", [](Snapshot& s) { s.sequences[1].arrival = 4; }},
      {"tokens computed", [](Snapshot& s) { s.sequences[0].n_computed = 7; }},
      {"run past its length", [](Snapshot& s) { s.sequences[0].max_len = 7, s.sequences[0].n_planned = 3; }},
      {"published what is not computed", [](Snapshot& s) { s.sequences[0].n_published = 2; }},
      {"hashed what is not known", [](Snapshot& s) { s.sequences[0].n_chain = 2; }},
      {"should have split", [](Snapshot& s) { s.sequences[0].n_unborn = 1, s.sequences[0].n_prompt = 6; }},
      {"waits with 2 positions", [](Snapshot& s) { s.sequences[2].n_computed = 2; }},
      {"is listed twice", [](Snapshot& s) { s.sequences[2].id = 2; }},
      {"answers were added", [](Snapshot& s) { s.n_finished = 2; }},
      {"9 tokens planned of 8", [](Snapshot& s) { s.n_plan_tokens = 9; }},
  };
  for (const Damage& damage : damages) {
    Snapshot s = sound();
    damage.apply(s);
    std::string all;
    for (const std::string& violation : validate(s)) all += violation + "\n";
    EXPECT_NE(all.find(damage.expected), std::string::npos) << damage.expected << "\n got: " << all;
  }
}

}  // namespace
}  // namespace arc
