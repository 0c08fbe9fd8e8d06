// Kernels for AVX2 with FMA and F16C. No standard containers or algorithms here: see tools/check_isa_symbols.py.
#include <immintrin.h>

#include "kernels/cpu/generic/prelude.h"

namespace arc::cpu::avx2 {
// clang-format off: vectors first
#include "kernels/cpu/isa/vec_avx2.inl"
#include "kernels/cpu/generic/kernels.inl"
// clang-format on
}  // namespace arc::cpu::avx2
