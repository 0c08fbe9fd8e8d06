// Two readers that only read.
#include <cstdio>
#include <cstdlib>

#include "ceiling.h"
#include "kernels/cuda/tape/device.cuh"

namespace arc::bench {
namespace {

using namespace tape;

// An error ends the program with its place.
#define ARC_CUDA(call)                                                                          \
  do {                                                                                          \
    const cudaError_t arc_error = (call);                                                       \
    if (arc_error != cudaSuccess) {                                                             \
      std::printf("%s:%d: %s: %s\n", __FILE__, __LINE__, #call, cudaGetErrorString(arc_error)); \
      std::exit(1);                                                                             \
    }                                                                                           \
  } while (0)

constexpr uint32_t kReaderTileBytes = 32768, kReaderTiles = 6, kReaderWarps = 2;

__global__ void __launch_bounds__(1024, 2) read_grid_stride(const uint4* from, uint64_t n, uint32_t* out) {
  constexpr int kInFlight = 8;
  const uint64_t step = uint64_t(gridDim.x) * blockDim.x;
  uint32_t sum = 0;
  for (uint64_t i = uint64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += kInFlight * step) {
    uint4 v[kInFlight];
#pragma unroll
    for (int k = 0; k < kInFlight; ++k) {
      v[k] = make_uint4(0, 0, 0, 0);
      if (i + k * step < n)
        asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
                     : "=r"(v[k].x), "=r"(v[k].y), "=r"(v[k].z), "=r"(v[k].w)
                     : "l"(from + i + k * step));
    }
#pragma unroll
    for (int k = 0; k < kInFlight; ++k) sum ^= v[k].x ^ v[k].y ^ v[k].z ^ v[k].w;
  }
  if (sum == 0x12345678) *out = sum;
}

struct ReaderShared {
  alignas(1024) uint8_t tiles[kReaderTiles][kReaderTileBytes];
  uint64_t full[kReaderTiles], empty[kReaderTiles];
};

// Warps 0 and 1 issue, warp 2 frees. Tile i of the block starts at (i * blocks + block) * 32 KB.
__global__ void __launch_bounds__(32 * (kReaderWarps + 1), 1) read_ring(uint64_t from, uint32_t n_per_block) {
  extern __shared__ __align__(1024) uint8_t memory[];
  ReaderShared& shared = *reinterpret_cast<ReaderShared*>(memory);
  if (threadIdx.x == 0) {
    for (uint32_t i = 0; i < kReaderTiles; ++i) {
      barrier_init(&shared.full[i], 1);
      barrier_init(&shared.empty[i], 1);
    }
    barriers_are_made();
  }
  __syncthreads();
  if (threadIdx.x % 32 != 0) return;
  const uint32_t warp = threadIdx.x / 32;
  const uint64_t policy = evict_first_policy();
  uint32_t at = 0, parity = 0;
  for (uint32_t i = 0; i < n_per_block; ++i) {
    if (warp == kReaderWarps) {
      barrier_wait(&shared.full[at], parity, "reader");
      barrier_arrive(&shared.empty[at]);
    } else if (i % kReaderWarps == warp) {
      barrier_wait(&shared.empty[at], parity ^ 1, "reader");
      barrier_expect(&shared.full[at], kReaderTileBytes);
      copy_bytes(shared.tiles[at], tape::at<uint8_t>(from + (uint64_t(i) * gridDim.x + blockIdx.x) * kReaderTileBytes),
                 kReaderTileBytes, &shared.full[at], policy);
    }
    if (++at == kReaderTiles) {
      at = 0;
      parity ^= 1;
    }
  }
}

}  // namespace

double read_rate(Reader reader, uint64_t address, uint64_t n_bytes, uint32_t n_sms) {
  static uint32_t* out = nullptr;
  if (!out) ARC_CUDA(cudaMalloc(&out, 4));
  cudaEvent_t begin, end;
  ARC_CUDA(cudaEventCreate(&begin));
  ARC_CUDA(cudaEventCreate(&end));
  ARC_CUDA(cudaFuncSetAttribute(read_ring, cudaFuncAttributeMaxDynamicSharedMemorySize, int(sizeof(ReaderShared))));
  const uint32_t n_per_block = uint32_t(n_bytes / (uint64_t(n_sms) * kReaderTileBytes));
  const uint64_t n_read = uint64_t(n_per_block) * n_sms * kReaderTileBytes;
  ARC_CUDA(cudaEventRecord(begin));
  if (reader == Reader::ring)
    read_ring<<<n_sms, 32 * (kReaderWarps + 1), sizeof(ReaderShared)>>>(address, n_per_block);
  else
    read_grid_stride<<<2 * n_sms, 1024>>>(reinterpret_cast<const uint4*>(address), n_read / 16, out);
  ARC_CUDA(cudaGetLastError());
  ARC_CUDA(cudaEventRecord(end));
  ARC_CUDA(cudaEventSynchronize(end));
  float ms = 0;
  ARC_CUDA(cudaEventElapsedTime(&ms, begin, end));
  ARC_CUDA(cudaEventDestroy(begin));
  ARC_CUDA(cudaEventDestroy(end));
  return double(n_read) / ms / 1e6;
}

}  // namespace arc::bench
