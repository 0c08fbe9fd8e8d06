// Which instruction sets the CPU kernels exist for, and which one this machine runs.
#pragma once

#include <cstdint>
#include <string_view>

#include "kernels/api/kernel.h"

namespace arc::cpu {

enum class Isa : uint8_t {
  scalar,
  avx2,         // with FMA and F16C
  avx512,       // F, BW, DQ, VL, VBMI, VNNI
  avx512_bf16,  // the same with BF16 products
};

std::string_view isa_name(Isa isa);

bool isa_supported(Isa isa);

// The best one that the machine has; the environment variable ARC_CPU_ISA forces one. Throws Error(invalid_argument)
// when it names one that is unknown or absent.
Isa choose_isa();

// One kernel per operation (kernels/api/ops.h). Null for collectives. All threads of Operands::team call a kernel
// together. Weights must be packed for the same set (pack.h).
const KernelTable& kernels(Isa isa);

}  // namespace arc::cpu
