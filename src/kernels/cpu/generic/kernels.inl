// All kernels of one instruction set: included inside its namespace, behind its vectors (isa/vec_*.inl).
// clang-format off: each uses those before it
#include "kernels/cpu/generic/common.inl"
#include "kernels/cpu/generic/math.inl"
#include "kernels/cpu/generic/loops.inl"
#include "kernels/cpu/generic/activations.inl"
#include "kernels/cpu/generic/products.inl"
#include "kernels/cpu/generic/multiply.inl"
#include "kernels/cpu/generic/norm.inl"
#include "kernels/cpu/generic/elementwise.inl"
#include "kernels/cpu/generic/unpack.inl"
#include "kernels/cpu/generic/trellis.inl"
#include "kernels/cpu/generic/rope_append.inl"
#include "kernels/cpu/generic/attend_packed.inl"
#include "kernels/cpu/generic/attend_rows.inl"
#include "kernels/cpu/generic/attend.inl"
#include "kernels/cpu/generic/route.inl"
#include "kernels/cpu/generic/recurrent.inl"
// clang-format on
