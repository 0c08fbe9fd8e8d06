// Every CUDA call of the bench goes through this: an error ends the program with its place.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <cuda_runtime.h>

#define ARC_CUDA(call)                                                                          \
  do {                                                                                          \
    const cudaError_t arc_error = (call);                                                       \
    if (arc_error != cudaSuccess) {                                                             \
      std::printf("%s:%d: %s: %s\n", __FILE__, __LINE__, #call, cudaGetErrorString(arc_error)); \
      std::exit(1);                                                                             \
    }                                                                                           \
  } while (0)
