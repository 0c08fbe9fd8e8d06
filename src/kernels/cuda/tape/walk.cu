// The persistent kernel: one block per SM, every warp in one role, each role walking the same tape.
#include <cuda.h>

#include "kernels/cuda/tape/attention.cuh"
#include "kernels/cuda/tape/epilogue.cuh"
#include "kernels/cuda/tape/gather.cuh"
#include "kernels/cuda/tape/producers.cuh"
#include "kernels/cuda/tape/walk.h"

namespace arc::tape {
namespace {

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
__global__ void walk_kernel(const __grid_constant__ LaunchArgs) {}  // nobody launches it there
#else

__device__ void prepare(Shared& shared, const LaunchArgs& launch) {
  for (uint32_t i = 0; i < kTiles; ++i) {
    barrier_init(&shared.tile_full[i], 1);
    barrier_init(&shared.tile_empty[i], 1);
  }
  for (uint32_t i = 0; i < kSlots; ++i) {
    barrier_init(&shared.slot_full[i], 1);
    barrier_init(&shared.slot_empty[i], kConsumerWarps);
  }
  for (uint32_t i = 0; i < kRegions; ++i) {
    barrier_init(&shared.region_full[i], kConsumerWarps);
    barrier_init(&shared.region_empty[i], 1);
  }
  for (uint32_t i = 0; i < kStageSlots; ++i) {
    barrier_init(&shared.stage_full[i], 1);
    barrier_init(&shared.stage_empty[i], kTapeReaders);
  }
  barrier_init(&shared.choice_made, 1);
  shared.step = {.number = *launch.step, .token = *launch.token, .position = uint32_t(*launch.position)};
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

// Each role is a function of its own, so that it gets registers of its own.
__device__ __noinline__ void consume(Shared& shared, const LaunchArgs& launch, uint32_t warp) {
  ConsumerWarp me{shared, warp, lane_id()};
  visit_stages(shared, launch, [&](const StageView& view) {
    if (view.stage.op == Op::product) multiply(me, view);
    if (view.stage.op == Op::attend) attend(me, launch, view);
  });
}

__device__ __noinline__ void stream_tiles(Shared& shared, const LaunchArgs& launch) {
  if (lane_id() == 0) TileProducer(shared, launch).run();
}

__device__ __noinline__ void gather(Shared& shared, const LaunchArgs& launch, uint32_t which) {
  Gather role(shared, which);
  visit_stages(shared, launch, [&](const StageView& view) { role.visit(view); });
}

// When block 0 has come to the end, every block has read the step's number: each took part in the last norm.
__device__ __noinline__ void finish(Shared& shared, const LaunchArgs& launch) {
  EpilogueWarp role(shared);
  visit_stages(shared, launch, [&](const StageView& view) { role.visit(view); });
  if (blockIdx.x == 0 && lane_id() == 0) *launch.step = shared.step.number + 1;
}

__global__ void __launch_bounds__(kThreads, 1) walk_kernel(const __grid_constant__ LaunchArgs launch) {
  extern __shared__ __align__(1024) uint8_t memory[];
  Shared& shared = *reinterpret_cast<Shared*>(memory);
  if (threadIdx.x == 0) prepare(shared, launch);
  __syncthreads();
  const uint32_t warp = threadIdx.x / 32;
  if (warp < kConsumerWarps) {
    consume(shared, launch, warp);
  } else if (warp < kFirstGatherWarp) {
    stream_tiles(shared, launch);
  } else if (warp < kEpilogueWarp) {
    gather(shared, launch, warp - kFirstGatherWarp);
  } else if (warp == kEpilogueWarp) {
    finish(shared, launch);
  } else {
    load_stages(shared, launch);
  }
}

#endif

using Encode = decltype(&cuTensorMapEncodeTiled);

// The driver's own function: the program is not linked with the driver.
Encode encode() {
  static const Encode found = [] {
    void* function = nullptr;
    cudaDriverEntryPointQueryResult result{};
#if CUDART_VERSION >= 12050
    const cudaError_t error =
        cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &result);
#else
    const cudaError_t error = cudaGetDriverEntryPoint("cuTensorMapEncodeTiled", &function, cudaEnableDefault, &result);
#endif
    return error == cudaSuccess && result == cudaDriverEntryPointSuccess ? reinterpret_cast<Encode>(function) : nullptr;
  }();
  return found;
}

static_assert(sizeof(CUtensorMap) == kMapBytes);

}  // namespace

int walk(const LaunchArgs& args, uint32_t n_sms, void* stream) noexcept {
  LaunchArgs copy = args;
  void* arguments[] = {&copy};
  // Cooperative only for its promise that all blocks are resident.
  return cudaLaunchCooperativeKernel(reinterpret_cast<const void*>(walk_kernel), dim3(n_sms), dim3(kThreads), arguments,
                                     sizeof(Shared), static_cast<cudaStream_t>(stream));
}

int load_walk() noexcept {
  return cudaFuncSetAttribute(walk_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(sizeof(Shared)));
}

bool matrix_map(void* map, uint64_t data, uint32_t count, uint32_t parts, uint32_t rows, uint32_t n_in) noexcept {
  const cuuint64_t sizes[] = {n_in / kMapColumns, rows, cuuint64_t{count} * parts}, row_bytes = cuuint64_t{n_in} * 2;
  const cuuint64_t strides[] = {row_bytes, row_bytes * rows};
  const cuuint32_t box[] = {kTileColumns / kMapColumns, kTileRows / parts, parts}, steps[] = {1, 1, 1};
  return encode() != nullptr &&
         encode()(static_cast<CUtensorMap*>(map), CU_TENSOR_MAP_DATA_TYPE_INT64, 3, reinterpret_cast<void*>(data),
                  sizes, strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_NONE,
                  CU_TENSOR_MAP_L2_PROMOTION_NONE, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

bool cache_map(void* map, uint64_t data, uint64_t n_rows) noexcept {
  const cuuint64_t sizes[] = {kHeadDim, n_rows}, strides[] = {kRowBytes};
  const cuuint32_t box[] = {kHalfColumns, kGranuleTokens}, steps[] = {1, 1};
  return encode() != nullptr &&
         encode()(static_cast<CUtensorMap*>(map), CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, reinterpret_cast<void*>(data),
                  sizes, strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                  CU_TENSOR_MAP_L2_PROMOTION_NONE, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

}  // namespace arc::tape
