// Small things that all kernels share. Inline functions of headers outside this namespace must not be called here
// (tools/check_isa_symbols.py), hence these copies.
#include "kernels/cpu/generic/run.inl"

template <typename T>
inline T* row_of(const TensorView& view, int64_t row) {
  return static_cast<T*>(view.data) + row * view.row_stride;
}

template <typename T>
constexpr T smaller(T a, T b) {
  return b < a ? b : a;
}
template <typename T>
constexpr T larger(T a, T b) {
  return a < b ? b : a;
}
