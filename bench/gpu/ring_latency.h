// How long a token takes from the device's store to a reader on the host.
#pragma once

#include <cstdint>

namespace arc::bench {

// Prints it: half of a ping-pong of `rounds` tokens between one thread of the device and one of the host, through the
// ring's own entries, words and fences. False: CUDA failed.
bool bench_ring_latency(int64_t rounds);

}  // namespace arc::bench
