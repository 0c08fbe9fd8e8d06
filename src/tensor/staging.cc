#include "tensor/staging.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <sys/mman.h>
#include <thread>
#include <unistd.h>

#include "base/error.h"

#if ARC_CUDA
#include <cuda_runtime.h>
#endif

namespace arc {
namespace {

constexpr size_t kSlotBytes = size_t{8} << 20;  // a read that disks like, and short beside a weight
constexpr unsigned kMaxLanes = 8;               // reads at a time: what the queue of a fast disk wants

// The kernel then reads all of it at once instead of page by page.
void read_ahead(std::span<const std::byte> bytes) {
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<uintptr_t>(bytes.data()) / page * page;
  ::madvise(reinterpret_cast<void*>(begin), reinterpret_cast<uintptr_t>(bytes.data()) + bytes.size() - begin,
            MADV_WILLNEED);
}

}  // namespace

// A thread's stream and two buffers: one is filled while the other is under way. For the CPU plain copies.
class Staging::Lane {
 public:
  explicit Lane(Device device) : device_(device) {
    if (!on_host() && !open()) {
      close();
      throw Error(ErrorCode::resource, "there is no memory to pin for loading weights; free some of the host's");
    }
  }
  ~Lane() { close(); }
  Lane(const Lane&) = delete;
  Lane& operator=(const Lane&) = delete;

  bool send(std::byte* to, std::span<const std::byte> bytes) {
    read_ahead(bytes);
    if (!on_host()) return send_pinned(to, bytes);
    std::memcpy(to, bytes.data(), bytes.size());
    return true;
  }
  bool finish();

 private:
  bool on_host() const { return device_.kind == Device::Kind::cpu; }
  bool open();
  void close();
  bool send_pinned(std::byte* to, std::span<const std::byte> bytes);

  Device device_;
#if ARC_CUDA
  struct Slot {
    void* data = nullptr;
    cudaEvent_t sent = nullptr;
  };
  std::array<Slot, 2> slots_;
  cudaStream_t stream_ = nullptr;
  int next_ = 0;
#endif
};

#if ARC_CUDA

bool Staging::Lane::open() {
  // Of the kind that waits for the default stream: it may be zeroing the target.
  bool ok = cudaSetDevice(device_.index) == cudaSuccess && cudaStreamCreate(&stream_) == cudaSuccess;
  for (Slot& slot : slots_) {
    ok = ok && cudaHostAlloc(&slot.data, kSlotBytes, cudaHostAllocDefault) == cudaSuccess &&
         cudaEventCreateWithFlags(&slot.sent, cudaEventDisableTiming) == cudaSuccess;
  }
  return ok;
}

void Staging::Lane::close() {
  for (const Slot& slot : slots_) {
    if (slot.sent != nullptr) cudaEventDestroy(slot.sent);
    if (slot.data != nullptr) cudaFreeHost(slot.data);
  }
  if (stream_ != nullptr) cudaStreamDestroy(stream_);
}

bool Staging::Lane::send_pinned(std::byte* to, std::span<const std::byte> bytes) {
  Slot& slot = slots_[next_];
  next_ = 1 - next_;
  cudaSetDevice(device_.index);  // of this thread
  if (cudaEventSynchronize(slot.sent) != cudaSuccess) return false;
  std::memcpy(slot.data, bytes.data(), bytes.size());
  return cudaMemcpyAsync(to, slot.data, bytes.size(), cudaMemcpyHostToDevice, stream_) == cudaSuccess &&
         cudaEventRecord(slot.sent, stream_) == cudaSuccess;
}

bool Staging::Lane::finish() {
  return on_host() || cudaStreamSynchronize(stream_) == cudaSuccess;
}

#else

bool Staging::Lane::open() {
  return false;
}
void Staging::Lane::close() {}
bool Staging::Lane::send_pinned(std::byte*, std::span<const std::byte>) {
  return false;
}
bool Staging::Lane::finish() {
  return true;
}

#endif

Staging::Staging(Device device) {
  const unsigned n = std::clamp(std::thread::hardware_concurrency(), 1u, kMaxLanes);
  for (unsigned i = 0; i < n; ++i) lanes_.push_back(std::make_unique<Lane>(device));
}
Staging::~Staging() = default;

bool Staging::copy(std::byte* to, std::span<const HostPiece> pieces) {
  std::vector<HostPiece> chunks;
  for (const HostPiece& piece : pieces) {
    for (size_t at = 0; at < piece.bytes.size(); at += kSlotBytes)
      chunks.push_back({piece.at + at, piece.bytes.subspan(at, std::min(kSlotBytes, piece.bytes.size() - at))});
  }
  std::atomic<size_t> next = 0;
  std::atomic<bool> ok = true;
  const auto work = [&](Lane& lane) {
    for (size_t i = next++; i < chunks.size() && ok; i = next++) {
      if (!lane.send(to + chunks[i].at, chunks[i].bytes)) ok = false;
    }
    if (!lane.finish()) ok = false;
  };
  {
    std::vector<std::jthread> threads;
    for (size_t i = 1; i < std::min(lanes_.size(), chunks.size()); ++i)
      threads.emplace_back([&, i] { work(*lanes_[i]); });
    work(*lanes_[0]);
  }
  return ok;
}

}  // namespace arc
