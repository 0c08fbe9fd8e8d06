// How the device speaks with the host through mapped memory: see RingControl in loop.h. An entry is stored, then a
// fence
// (__threadfence_system), then the head is published.
#pragma once

#include "kernels/cuda/loop.h"

namespace arc::cuda {

template <typename T>
__device__ inline T load_shared_with_host(const T* p) {
  return *static_cast<const volatile T*>(p);
}

__device__ inline void publish(uint64_t* p, uint64_t value) {
  asm volatile("st.release.sys.global.u64 [%0], %1;" ::"l"(p), "l"(value) : "memory");
}
__device__ inline void publish(uint32_t* p, uint32_t value) {
  asm volatile("st.release.sys.global.u32 [%0], %1;" ::"l"(p), "r"(value) : "memory");
}

__device__ inline void store(RingEntry* slot, const RingEntry& entry) {
  static_assert(sizeof(RingEntry) == sizeof(int4));
  *reinterpret_cast<int4*>(slot) = *reinterpret_cast<const int4*>(&entry);
}

}  // namespace arc::cuda
