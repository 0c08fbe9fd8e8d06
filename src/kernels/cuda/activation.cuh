// Functions of a gate, as kernels that stand behind one another share them.
#pragma once

#include "kernels/cuda/common.cuh"

namespace arc::cuda {

__device__ __forceinline__ float gelu(float x) {
  return 0.5f * x * (1.0f + erff(x * 0.7071067811865476f));
}

__device__ __forceinline__ float gelu_tanh(float x) {
  return 0.5f * x * (1.0f + tanhf(0.7978845608028654f * (x + 0.044715f * x * x * x)));
}

__device__ __forceinline__ float activate(const ActArgs& a, float gate, float up) {
  switch (a.act) {
    case Act::silu:
      return gate * sigmoid(gate) * up;
    case Act::gelu:
      return gelu(gate) * up;
    case Act::gelu_tanh:
      return gelu_tanh(gate) * up;
    case Act::relu:
      return fmaxf(gate, 0.0f) * up;
    case Act::clamped_swiglu:
      break;
  }
  const float clamped = fminf(gate, a.limit);
  return clamped * sigmoid(a.alpha * clamped) * (fminf(fmaxf(up, -a.limit), a.limit) + 1.0f);
}

}  // namespace arc::cuda
