// A function that device code may call, too.
#pragma once

#if defined(__CUDACC__)
#define ARC_HOST_DEVICE __host__ __device__
#else
#define ARC_HOST_DEVICE
#endif
