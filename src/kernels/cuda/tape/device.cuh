// Hopper instructions that the kernel uses, by name, beside those of barrier.cuh: copies of boxes, tagged words, matrix
// fragments. PTX ISA 9.0, sections "cp.async.bulk.tensor", "ld/st.relaxed", "ldmatrix", "mma".
#pragma once

#include <cstdint>
#include <cstdio>
#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include "kernels/cuda/barrier.cuh"

namespace arc::tape {

constexpr uint32_t kAllLanes = 0xffffffffu;
constexpr long long kWatchdogCycles = 4'000'000'000ll;  // about 2 s: nothing in a step waits longer

__device__ __forceinline__ long long clock_cycles() {
  long long t;
  asm volatile("mov.u64 %0, %%clock64;" : "=l"(t));
  return t;
}

// Ends a launch that would hang. Known not to return, so that nothing is kept alive for its sake.
[[noreturn]] static __device__ __noinline__ void give_up(const char* where, uint32_t a, uint32_t b) {
  printf("tape: timeout at %s, block %d, warp %d: %u %u\n", where, blockIdx.x, threadIdx.x / 32, a, b);
  __nanosleep(1'000'000);
  __trap();
  __builtin_unreachable();
}

// A loop that polls calls this each time round.
class Watchdog {
 public:
  __device__ __forceinline__ explicit Watchdog(const char* where) : where_(where), start_(clock_cycles()) {}
  __device__ __forceinline__ void check(uint32_t a = 0, uint32_t b = 0) const {
    if (clock_cycles() - start_ > kWatchdogCycles) give_up(where_, a, b);
  }

 private:
  const char* where_;
  long long start_;
};

using cuda::barrier_arrive, cuda::barrier_done, cuda::barrier_expect, cuda::barrier_init, cuda::barriers_are_made;
using cuda::shared_address, cuda::writes_are_seen;

// Ends the launch where the barrier stays open.
__device__ __forceinline__ void barrier_wait(uint64_t* barrier, uint32_t parity, const char* where) {
  if (barrier_done(barrier, parity)) return;
  const Watchdog watchdog(where);
  while (!barrier_done(barrier, parity)) watchdog.check(parity);
}

// ---- copies of boxes, tensor to shared; complete on an mbarrier. x: element of a row, y: row, z: part
__device__ __forceinline__ uint64_t evict_first_policy() {
  uint64_t policy;
  asm volatile("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
  return policy;
}
__device__ __forceinline__ void prefetch_map(uint64_t map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}
__device__ __forceinline__ void copy_box(void* to, uint64_t map, uint32_t x, uint32_t y, uint32_t z, uint64_t* barrier,
                                         uint64_t policy) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.L2::cache_hint "
      "[%0], [%1, {%2, %3, %4}], [%5], %6;" ::"r"(shared_address(to)),
      "l"(map), "r"(x), "r"(y), "r"(z), "r"(shared_address(barrier)), "l"(policy)
      : "memory");
}
__device__ __forceinline__ void copy_box(void* to, uint64_t map, uint32_t x, uint32_t y, uint64_t* barrier,
                                         uint64_t policy) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.L2::cache_hint "
      "[%0], [%1, {%2, %3}], [%4], %5;" ::"r"(shared_address(to)),
      "l"(map), "r"(x), "r"(y), "r"(shared_address(barrier)), "l"(policy)
      : "memory");
}
// Both addresses and n_bytes are multiples of 16.
__device__ __forceinline__ void copy_bytes(void* to, const void* from, uint32_t n_bytes, uint64_t* barrier,
                                           uint64_t policy) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1], %2, [%3], %4;" ::
          "r"(shared_address(to)),
      "l"(from), "r"(n_bytes), "r"(shared_address(barrier)), "l"(policy)
      : "memory");
}

// ---- tagged words (see BufferRef)
__device__ __forceinline__ uint32_t tagged16(float value, uint32_t tag) {
  return uint32_t(__bfloat16_as_ushort(__float2bfloat16(value))) << 16 | (tag & 0xffff);
}
__device__ __forceinline__ uint64_t tagged32(float value, uint32_t tag) {
  return uint64_t(tag) << 32 | __float_as_uint(value);
}
__device__ __forceinline__ uint32_t tag_of(uint64_t word) {
  return uint32_t(word >> 32);
}
__device__ __forceinline__ float value_of(uint64_t word) {
  return __uint_as_float(uint32_t(word));
}

template <class T>
__device__ __forceinline__ T* at(uint64_t address) {
  return reinterpret_cast<T*>(address);
}
__device__ __forceinline__ uint32_t load_word(const uint32_t* p) {
  uint32_t v;
  asm volatile("ld.relaxed.gpu.global.u32 %0, [%1];" : "=r"(v) : "l"(p) : "memory");
  return v;
}
__device__ __forceinline__ uint64_t load_word(const uint64_t* p) {
  uint64_t v;
  asm volatile("ld.relaxed.gpu.global.u64 %0, [%1];" : "=l"(v) : "l"(p) : "memory");
  return v;
}
__device__ __forceinline__ uint4 load_words4(const uint32_t* p) {
  uint4 v;
  asm volatile("ld.relaxed.gpu.global.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(p)
               : "memory");
  return v;
}
__device__ __forceinline__ void store_word(uint32_t* p, uint32_t v) {
  asm volatile("st.relaxed.gpu.global.u32 [%0], %1;" ::"l"(p), "r"(v) : "memory");
}
__device__ __forceinline__ void store_word(uint64_t* p, uint64_t v) {
  asm volatile("st.relaxed.gpu.global.u64 [%0], %1;" ::"l"(p), "l"(v) : "memory");
}
__device__ __forceinline__ void store_words2(uint64_t* p, uint64_t a, uint64_t b) {
  asm volatile("st.relaxed.gpu.global.v2.u64 [%0], {%1, %2};" ::"l"(p), "l"(a), "l"(b) : "memory");
}

// ---- a count that warps of a block wait for
__device__ __forceinline__ void store_release(uint32_t* p, uint32_t v) {
  asm volatile("st.release.cta.shared.u32 [%0], %1;" ::"r"(shared_address(p)), "r"(v) : "memory");
}
__device__ __forceinline__ uint32_t load_acquire(const uint32_t* p) {
  uint32_t v;
  asm volatile("ld.acquire.cta.shared.u32 %0, [%1];" : "=r"(v) : "r"(shared_address(p)) : "memory");
  return v;
}

// ---- numbers
__device__ __forceinline__ float low_bf16(uint32_t pair) {
  return __uint_as_float(pair << 16);
}
__device__ __forceinline__ float high_bf16(uint32_t pair) {
  return __uint_as_float(pair & 0xffff0000u);
}
__device__ __forceinline__ uint32_t pack_bf16(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&pair);
}
__device__ __forceinline__ float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
__device__ __forceinline__ float warp_sum(float v) {
  for (int lanes = 16; lanes; lanes >>= 1) v += __shfl_xor_sync(kAllLanes, v, lanes);
  return v;
}
__device__ __forceinline__ float warp_max(float v) {
  for (int lanes = 16; lanes; lanes >>= 1) v = fmaxf(v, __shfl_xor_sync(kAllLanes, v, lanes));
  return v;
}

// ---- matrix fragments, m16n8k16 of bf16 with f32 sums
__device__ __forceinline__ void load_fragment(uint32_t (&a)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(a[0]), "=r"(a[1]), "=r"(a[2]), "=r"(a[3])
               : "r"(address)
               : "memory");
}
__device__ __forceinline__ void load_fragment_transposed(uint32_t (&a)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(a[0]), "=r"(a[1]), "=r"(a[2]), "=r"(a[3])
               : "r"(address)
               : "memory");
}
__device__ __forceinline__ uint32_t transpose8x8(uint32_t pair) {
  uint32_t out;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(out) : "r"(pair));
  return out;
}
__device__ __forceinline__ void multiply_add(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

}  // namespace arc::tape
