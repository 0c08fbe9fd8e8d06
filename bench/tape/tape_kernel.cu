// The persistent kernel: one block per SM, every warp in one role, each role walking the same tape.
#include "attention.cuh"
#include "epilogue.cuh"
#include "gather.cuh"
#include "producers.cuh"
#include "tape_kernel.h"

namespace arc::tape {
namespace {

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
  barrier_init(&shared.step_done, 1);
  shared.stop = 0;
  shared.attended = 0;
  shared.appended = 0;
  shared.start = *launch.state;
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

// Each role is a function of its own, so that it gets registers of its own.
template <bool kProbe>
__device__ __noinline__ void consume(Shared& shared, const LaunchArgs& launch, uint32_t warp) {
  ConsumerWarp me{shared, warp, lane_id()};
  walk(shared, launch, [&](const StageView& view, uint32_t k) {
    if (view.stage.op == Op::product) multiply<kProbe>(me, launch, view);
    if (view.stage.op == Op::attend) {
      attend<kProbe>(me, launch, view, shared.start.step + k, shared.start.position + k);
      if (threadIdx.x == 0) shared.attended = shared.attended + 1;
    }
  });
}

template <bool kProbe>
__device__ __noinline__ void stream_tiles(Shared& shared, const LaunchArgs& launch, uint32_t which) {
  if (lane_id() == 0) TileProducer<kProbe>(shared, launch, which).run();
}

template <bool kProbe>
__device__ __noinline__ void gather(Shared& shared, const LaunchArgs& launch, uint32_t which) {
  Gather<kProbe> role(shared, launch, which);
  walk(shared, launch, [&](const StageView& view, uint32_t k) { role.visit(view, k); });
}

template <bool kProbe>
__device__ __noinline__ void finish(Shared& shared, const LaunchArgs& launch) {
  EpilogueWarp<kProbe> role(shared, launch);
  walk(shared, launch, [&](const StageView& view, uint32_t k) { role.visit(view, k); });
  role.leave_state();
}

template <bool kProbe>
__global__ void __launch_bounds__(kThreads, 1) walk_tape(const __grid_constant__ LaunchArgs launch) {
  extern __shared__ __align__(1024) uint8_t memory[];
  Shared& shared = *reinterpret_cast<Shared*>(memory);
  if (threadIdx.x == 0) prepare(shared, launch);
  __syncthreads();
  const uint32_t warp = threadIdx.x / 32;
  if (warp < kConsumerWarps) {
    consume<kProbe>(shared, launch, warp);
  } else if (warp < kFirstGatherWarp) {
    stream_tiles<kProbe>(shared, launch, warp - kFirstWeightWarp);
  } else if (warp < kEpilogueWarp) {
    gather<kProbe>(shared, launch, warp - kFirstGatherWarp);
  } else if (warp == kEpilogueWarp) {
    finish<kProbe>(shared, launch);
  } else {
    load_stages(shared, launch);
  }
}

template <bool kProbe>
cudaError_t launch(LaunchArgs args, uint32_t n_sms, cudaStream_t stream) {
  const auto kernel = walk_tape<kProbe>;
  const cudaError_t error =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(sizeof(Shared)));
  if (error != cudaSuccess) return error;
  void* arguments[] = {&args};
  // Cooperative only for its promise that all blocks are resident.
  return cudaLaunchCooperativeKernel(reinterpret_cast<const void*>(kernel), dim3(n_sms), dim3(kThreads), arguments,
                                     sizeof(Shared), stream);
}

}  // namespace

cudaError_t launch_tape(const LaunchArgs& args, uint32_t n_sms, bool probe, cudaStream_t stream) {
  if (args.n_stages < kMinStages) return cudaErrorInvalidValue;
  return probe ? launch<true>(args, n_sms, stream) : launch<false>(args, n_sms, stream);
}

}  // namespace arc::tape
