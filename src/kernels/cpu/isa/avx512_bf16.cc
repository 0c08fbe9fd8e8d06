// Kernels for AVX-512 with VNNI and BF16 products. No standard containers or algorithms here: see
// tools/check_isa_symbols.py.
#include <immintrin.h>

#include "kernels/cpu/generic/prelude.h"

namespace arc::cpu::avx512_bf16 {
// clang-format off: vectors first
#include "kernels/cpu/isa/vec_avx512.inl"
#include "kernels/cpu/generic/kernels.inl"
// clang-format on
}  // namespace arc::cpu::avx512_bf16
