// How a weight lies in a checkpoint, where that is not a plain [out, in] matrix of its own.
#pragma once

namespace arc {

struct TensorLayout {
  bool stacked = false;      // all experts in one tensor, the expert as its first axis
  bool transposed = false;   // [in, out]
  bool interleaved = false;  // rows of gate and up alternate
};

}  // namespace arc
