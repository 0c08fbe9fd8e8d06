// Kernels for AVX-512 with VNNI. No standard containers or algorithms here: see tools/check_isa_symbols.py.
#include <immintrin.h>

#include "kernels/cpu/generic/prelude.h"

namespace arc::cpu::avx512 {
#include "kernels/cpu/generic/kernels.inl"
#include "kernels/cpu/isa/vec_avx512.inl"
}  // namespace arc::cpu::avx512
