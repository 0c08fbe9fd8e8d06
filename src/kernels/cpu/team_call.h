// For tests: a kernel called by a team of threads.
#pragma once

#include <algorithm>
#include <thread>
#include <vector>

#include "kernels/cpu/isa.h"
#include "kernels/cpu/op_scratch.h"
#include "kernels/cpu/team.h"
#include "kernels/cpu/team_state.h"

namespace arc::cpu {

// Those of this machine.
inline std::vector<Isa> usable_isas() {
  std::vector<Isa> out;
  for (const Isa isa : {Isa::scalar, Isa::avx2, Isa::avx512, Isa::avx512_bf16}) {
    if (isa_supported(isa)) out.push_back(isa);
  }
  return out;
}

// Scratch is filled with NaN.
inline void call_team(Isa isa, const Args& args, Operands o, int threads) {
  std::vector<float> scratch(static_cast<size_t>(op_scratch_bytes(args, threads)) / sizeof(float) + 1,
                             __builtin_nanf(""));
  o.scratch = reinterpret_cast<std::byte*>(scratch.data());
  TeamState state;
  std::vector<std::thread> team;
  for (int i = 0; i < threads; ++i) {
    team.emplace_back([&, i] {
      Operands mine = o;
      mine.team = {.thread = i, .threads = threads, .state = &state};
      kernels(isa)[args.index()](args, mine);
      sync(mine.team);
    });
  }
  for (std::thread& t : team) t.join();
}

}  // namespace arc::cpu
