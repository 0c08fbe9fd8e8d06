// Barriers in shared memory that threads and copies arrive at, by name; parity 0 names the first phase.
// PTX ISA, section "mbarrier".
#pragma once

#include <cstdint>
#include <cuda_runtime.h>

#include "kernels/cuda/tensor_core.cuh"

namespace arc::cuda {

__device__ __forceinline__ void barrier_init(uint64_t* barrier, uint32_t n_arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(n_arrivals) : "memory");
}
__device__ __forceinline__ void barriers_are_made() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
// Arrives. No scope: with one there would be a fence, which takes long while copies are under way, and products have
// nothing to be fenced.
__device__ __forceinline__ void barrier_arrive(uint64_t* barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier)) : "memory");
}
// Arrives, and tells how many bytes are to come before the phase ends.
__device__ __forceinline__ void barrier_expect(uint64_t* barrier, uint32_t n_bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)), "r"(n_bytes)
               : "memory");
}
__device__ __forceinline__ bool barrier_done(uint64_t* barrier, uint32_t parity) {
  uint32_t done;
  asm volatile("{ .reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }"
               : "=r"(done)
               : "r"(shared_address(barrier)), "r"(parity)
               : "memory");
  return done;
}
__device__ __forceinline__ void barrier_wait(uint64_t* barrier, uint32_t parity) {
  while (!barrier_done(barrier, parity)) {
  }
}

// Place in a ring of stages, and the parity of its present round.
struct Cursor {
  int at = 0;
  uint32_t parity = 0;

  __device__ __forceinline__ void next(int stages) {
    if (++at == stages) at = 0, parity ^= 1;
  }
};

// What this thread wrote to shared memory is there for copies and products that come next.
__device__ __forceinline__ void writes_are_seen() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

}  // namespace arc::cuda
