// How an executor calls a kernel: argument struct, operands, nothing else. Kernels allocate nothing and throw nothing.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "kernels/api/ops.h"
#include "kernels/api/step_inputs.h"
#include "kernels/api/team.h"
#include "quant/kv_layout.h"
#include "quant/weight_format.h"
#include "tensor/tensor.h"

namespace arc {

// What a kernel sees of a weight: `count` matrices [out, in] one after another (1 unless experts or heads), or a vector
// [in].
struct MatrixView {
  WeightFormat format;
  int64_t count = 1, out = 0, in = 0;
  const void* data = nullptr;
  const void* scale = nullptr;
  const void* zero = nullptr;
  const float* bias = nullptr;  // [count, out], or null
};

// One layer's recurrent states: slot s at data + s * slot_bytes.
struct StateView {
  std::byte* data = nullptr;
  int64_t slot_bytes = 0;
};

struct Operands {
  const MatrixView* weights = nullptr;
  const TensorView* reads = nullptr;  // `rows` is the step's T or R
  const TensorView* writes = nullptr;
  const StepInputs* step = nullptr;
  int64_t n_prompt = 0;  // of the rows, the last ones: tokens of StepInputs::n_prompts; none of those for the head
  int64_t n_prompt_tiles = 0;  // of the contexts of those sequences, all together
  KvView kv;
  KvView open;  // of a tiled policy: the tiles that are not full yet, raw and rotated
  StateView state;
  Team team;
  void* stream = nullptr;        // of a device backend
  std::byte* scratch = nullptr;  // shared by the team, as large as the kernel's backend asked for
  // Prompts' rows of reads[0], of writes[0], hold bf16 from their start on: one kernel writes them so for another.
  bool rounded_in = false, rounded_out = false;
};

using KernelFn = void (*)(const Args& args, const Operands& operands) noexcept;

// One kernel per operation, indexed by Args::index(). Null for collectives, which executors carry out themselves.
using KernelTable = std::array<KernelFn, kOpCount>;

}  // namespace arc
