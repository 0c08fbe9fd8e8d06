// What the engine asks of GPUs. Builds without CUDA answer, too: there is none.
#pragma once

#include <memory>
#include <string>

#include "exec/executor.h"
#include "tensor/device_memory.h"
#include "weights/load.h"

namespace arc::gpu {

// The first device, and in `problem` why it cannot be used. The rest is for devices without one.
CudaDevice find();

const KernelTable& kernels();  // to lower with

// Why `device` cannot run a plan of one shard: what has no kernel, or too little memory, and the remedy. Empty: it can.
std::string problem(const Plan& plan, const StepCapacity& capacity, const CudaDevice& device);
// Device bytes that a plan takes beside weights and cache; of them for kernels' intermediate results.
int64_t work_bytes(const Plan& plan, const StepCapacity& capacity);
int64_t scratch_bytes(const Plan& plan, const StepCapacity& capacity);

// For load_weights(): moves each weight to the device as soon as it is loaded. Throws Error(resource) when it is full.
PackWeight uploader(Device device);
// Likewise: reads matrices from the file to the device through pinned memory. Throws Error(resource).
PlaceWeight stager(Device device);

// Throws Error(resource).
std::unique_ptr<Executor> make(Plan plan, LoadedWeights weights, const StepCapacity& capacity,
                               const CudaDevice& device);

}  // namespace arc::gpu
