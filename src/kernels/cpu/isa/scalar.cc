// Kernels in plain C++, for machines without the instruction sets beside this file. No standard containers or
// algorithms here: see tools/check_isa_symbols.py.

#include "kernels/cpu/generic/prelude.h"

namespace arc::cpu::scalar {
// clang-format off: vectors first
#include "kernels/cpu/isa/vec_scalar.inl"
#include "kernels/cpu/generic/kernels.inl"
// clang-format on
}  // namespace arc::cpu::scalar
