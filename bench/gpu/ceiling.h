// The read ceiling of a device: what it reads when it does nothing else.
#pragma once

#include <cstdint>

namespace arc::bench {

enum class Reader { grid_stride, ring };

// Reads n_bytes from address once and returns GB/s. grid_stride: 16-byte loads, neighbours read neighbouring addresses,
// two blocks of 1024 threads an SM. ring: bulk copies of 32 KB, six in shared memory, two issuing warps, one block an
// SM.
double read_rate(Reader reader, uint64_t address, uint64_t n_bytes, uint32_t n_sms);

}  // namespace arc::bench
