// What the device kernels can take; why_not() in cuda_kernels.h tests a plan against it.
#pragma once

namespace arc::cuda {

inline constexpr int kMaxHeadDim = 1024;
inline constexpr int kMaxNormCols = 32768;
inline constexpr int kMaxConvKernel = 16;
inline constexpr int kMaxKeyDim = 256;     // of the delta rule
inline constexpr int kMaxValueDim = 1024;  // likewise
inline constexpr int kMaxSsmHeadDim = 1024;
inline constexpr int kMaxExperts = 2048;
inline constexpr int kMaxGroups = 64;       // of experts
inline constexpr int kMaxStepRows = 65535;  // tokens or rows of one step

}  // namespace arc::cuda
