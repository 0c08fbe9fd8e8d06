// Products of small matrices, their operands from shared memory, and copies into it that run by themselves.
#pragma once

#include <cstdint>

namespace arc::cuda {

// c += a b: [16, 16] times [16, 8] of bf16. With lane = 4 g + q: a holds rows g, g + 8 of columns 2 q, 2 q + 1, then
// those of columns 2 q + 8, + 9; b column g of rows 2 q, 2 q + 1, then 2 q + 8, + 9; c rows g, then g + 8 of columns
// 2 q, 2 q + 1.
__device__ __forceinline__ void multiply_add(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// c + a b, likewise, of f16.
__device__ __forceinline__ void multiply_add_halves(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                                                    const float (&c)[4]) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%10, %11, %12, %13};"
      : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "f"(c[0]), "f"(c[1]), "f"(c[2]), "f"(c[3]));
}

// c += a b: [16, 32] times [32, 8] of bytes, those of `a` with or without sign. a holds rows g, g + 8 of columns 4 q to
// 4 q + 3, then of columns 4 q + 16 and on; b column g of rows 4 q and on, 4 q + 16 and on; c as above.
template <bool kSigned>
__device__ __forceinline__ void multiply_add_bytes(int (&c)[4], const uint4& a, uint32_t b0, uint32_t b1) {
  if constexpr (kSigned) {
    asm volatile(
        "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
        : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "r"(b0), "r"(b1));
  } else {
    asm volatile(
        "mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
        : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "r"(b0), "r"(b1));
  }
}

// Byte i of the result is byte s of (low, high), s being nibble i of `select`; with bit 3 set, that byte's sign in all
// its bits.
__device__ __forceinline__ uint32_t permute_bytes(uint32_t low, uint32_t high, uint32_t select) {
  uint32_t out;
  asm("prmt.b32 %0, %1, %2, %3;" : "=r"(out) : "r"(low), "r"(high), "r"(select));
  return out;
}

__device__ __forceinline__ uint32_t shared_address(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

// Four [8, 8] matrices of 16 bits; lanes 8 i .. 8 i + 7 give the addresses of the rows of matrix i.
__device__ __forceinline__ void load_matrices(uint32_t (&m)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
               : "r"(shared_address(row))
               : "memory");
}
__device__ __forceinline__ void load_matrices_transposed(uint32_t (&m)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
               : "r"(shared_address(row))
               : "memory");
}

// Asks for 16 bytes into shared memory: the first `n` there are, then zeros.
__device__ __forceinline__ void copy_async(void* to, const void* from, int n) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(n) : "memory");
}
// Likewise all 16; zeros, and nothing is read, unless `real`.
__device__ __forceinline__ void copy_async16(void* to, const void* from, bool real) {
  copy_async(to, from, real ? 16 : 0);
}
// Ends a group of copies; then waits until all but the last kPending groups are there, for this thread.
__device__ __forceinline__ void copies_issued() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int kPending>
__device__ __forceinline__ void copies_arrived() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

// ---- bulk copies, and how their arrival is seen ----

using Arrival = uint64_t;  // in shared memory; its uses have the parities 0, 1, 0, ...

// By one thread, before all others are let at it.
__device__ __forceinline__ void set_arrivals(Arrival* arrivals, int n) {
  for (int i = 0; i < n; ++i) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(shared_address(arrivals + i)) : "memory");
  }
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
// By one thread, once a use: so many bytes will come. What was read or written there before is done with.
__device__ __forceinline__ void expect_bytes(Arrival* arrival, uint32_t n) {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(arrival)), "r"(n)
               : "memory");
}
// n is a multiple of 16, as are both addresses.
__device__ __forceinline__ void copy_bulk(void* to, const void* from, uint32_t n, Arrival* arrival) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
                   shared_address(to)),
               "l"(from), "r"(n), "r"(shared_address(arrival))
               : "memory");
}
__device__ __forceinline__ void await_bytes(Arrival* arrival, uint32_t parity) {
  asm volatile(
      "{\n"
      ".reg .pred there;\n"
      "again_%=:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 there, [%0], %1, 0x989680;\n"
      "@!there bra again_%=;\n"
      "}" ::"r"(shared_address(arrival)),
      "r"(parity)
      : "memory");
}

}  // namespace arc::cuda
