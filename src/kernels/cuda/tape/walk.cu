// The persistent kernel: one block per SM, every warp in one role, each role walking the same tape.
#include <algorithm>
#include <cuda.h>

#include "kernels/cuda/tape/attention.cuh"
#include "kernels/cuda/tape/attention_bytes.cuh"
#include "kernels/cuda/tape/epilogue.cuh"
#include "kernels/cuda/tape/gather.cuh"
#include "kernels/cuda/tape/producers.cuh"
#include "kernels/cuda/tape/seal.cuh"
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
  shared.n_appended = 0;
  shared.step = {.number = *launch.step, .token = *launch.token, .position = uint32_t(*launch.position)};
  barriers_are_made();
}

// Each role is a function of its own, so that it gets registers of its own.
__device__ __noinline__ void consume(Shared& shared, const LaunchArgs& launch, uint32_t warp) {
  ConsumerWarp me{shared, warp, lane_id()};
  visit_stages(shared, launch, [&](const StageView& view) {
    if (view.stage.op == Op::product) multiply(me, view);
    if (view.stage.op != Op::attend) return;
    if (view.stage.attend.form == CacheForm::bf16) {
      attend(me, launch, view);
    } else {
      attend_bytes(shared, launch, view, me.warp, me.tiles, me.slots);
      me.skip_attend(view);
    }
  });
}

__device__ __noinline__ void stream_tiles(Shared& shared, const LaunchArgs& launch) {
  if (lane_id() == 0) TileProducer(shared, launch).run();
}

// Packs what this step fills.
__device__ __noinline__ void seal_tiles(Shared& shared, const LaunchArgs& launch) {
  Sealer(shared, launch).run();
}

__device__ __noinline__ void gather(Shared& shared, const LaunchArgs& launch, uint32_t which) {
  Gather role(shared, launch, which);
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
  } else if (warp == kLoaderWarp) {
    load_stages(shared, launch);
  } else {
    seal_tiles(shared, launch);
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

CacheCodec cache_codec(const KvView& packed) noexcept {
  CacheCodec out{.head_bytes = static_cast<uint32_t>(packed.head_bytes)};
  for (const KvRole role : {KvRole::key, KvRole::value}) {
    const bool key = role == KvRole::key;
    const TurboCodec& codec = key ? *packed.k_turbo : *packed.v_turbo;
    const cuda::KvSide from = cuda::kv_side(packed, kHeadDim, role);
    CacheSide& side = out.sides[key ? 0 : 1];
    side = {.bits = from.bits,
            .step = from.step,
            .offset = from.offset,
            .data_bytes = static_cast<uint32_t>(from.data_bytes),
            .scales_bytes = static_cast<uint32_t>(from.scales_bytes),
            .entries = {from.entries[0], from.entries[1]}};
    if (codec.bits() == kUniformBits) continue;
    std::ranges::copy(codec.levels(), side.levels);
    std::ranges::copy(codec.borders(), side.borders);
  }
  return out;
}

CacheTurn cache_turn(const TurboCodec& codec) noexcept {
  const cuda::Turn turn = cuda::turn_of(&codec);
  CacheTurn out{.factor = turn.hartley[0]};
  std::copy_n(turn.negative, std::size(out.negative), out.negative);
  return out;
}

int load_walk() noexcept {
  return cudaFuncSetAttribute(walk_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(sizeof(Shared)));
}

bool matrix_map(void* map, uint64_t data, uint32_t count, uint32_t parts, uint32_t rows, uint32_t n_in,
                uint32_t columns) noexcept {
  const cuuint64_t sizes[] = {n_in / kMapColumns, rows, cuuint64_t{count} * parts}, row_bytes = cuuint64_t{n_in} * 2;
  const cuuint64_t strides[] = {row_bytes, row_bytes * rows};
  const cuuint32_t box[] = {columns / kMapColumns, kTileRows / parts, parts}, steps[] = {1, 1, 1};
  return encode() != nullptr &&
         encode()(static_cast<CUtensorMap*>(map), CU_TENSOR_MAP_DATA_TYPE_INT64, 3, reinterpret_cast<void*>(data),
                  sizes, strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_NONE,
                  CU_TENSOR_MAP_L2_PROMOTION_NONE, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

bool cache_map(void* map, uint64_t data, uint64_t n_bytes, CacheForm form) noexcept {
  const bool bf16 = form == CacheForm::bf16;
  const uint32_t row_bytes = bf16 ? kRowBytes : kInt8RowBytes;
  const cuuint64_t sizes[] = {kHeadDim, n_bytes / row_bytes}, strides[] = {row_bytes};
  const cuuint32_t box[] = {bf16 ? kHalfColumns : kHeadDim, kGranuleTokens}, steps[] = {1, 1};
  return encode() != nullptr &&
         encode()(static_cast<CUtensorMap*>(map),
                  bf16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 : CU_TENSOR_MAP_DATA_TYPE_UINT8, 2,
                  reinterpret_cast<void*>(data), sizes, strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
                  CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_NONE,
                  CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

}  // namespace arc::tape
