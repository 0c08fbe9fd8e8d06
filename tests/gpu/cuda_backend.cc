#include "gpu/cuda_backend.h"

#include <algorithm>
#include <cstring>
#include <cuda_runtime.h>
#include <memory>
#include <vector>

#include "base/error.h"
#include "exec/cuda/cuda_backend.h"
#include "exec/cuda/cuda_executor.h"

namespace arc::test {
namespace {

// Memory that copies can be queued to and from; given out piece by piece, and all at once taken back.
class Pinned {
 public:
  std::byte* take(size_t size_bytes) {
    constexpr size_t kAlignment = 256;
    size_bytes = (size_bytes + kAlignment - 1) / kAlignment * kAlignment;
    while (chunk_ < chunks_.size() && used_ + size_bytes > chunks_[chunk_].size_bytes) ++chunk_, used_ = 0;
    if (chunk_ == chunks_.size()) chunks_.push_back(allocate(std::max(size_bytes, kChunkBytes)));
    used_ += size_bytes;
    return chunks_[chunk_].data.get() + used_ - size_bytes;
  }
  void forget() { chunk_ = used_ = 0; }

 private:
  static constexpr size_t kChunkBytes = size_t{16} << 20;
  struct Free {
    void operator()(std::byte* data) const { cudaFreeHost(data); }
  };
  struct Chunk {
    std::unique_ptr<std::byte, Free> data;
    size_t size_bytes = 0;
  };
  static Chunk allocate(size_t size_bytes) {
    void* data = nullptr;
    if (cudaMallocHost(&data, size_bytes) != cudaSuccess) throw Error(ErrorCode::resource, "no memory to pin");
    return {.data = std::unique_ptr<std::byte, Free>(static_cast<std::byte*>(data)), .size_bytes = size_bytes};
  }

  std::vector<Chunk> chunks_;
  size_t chunk_ = 0, used_ = 0;
};

// Of a thread: its models are compared one after another.
thread_local Pinned pinned;

// Beside another process a wait for the device takes milliseconds, so a step is compared without any.
class OnDevice : public Inspected {
 public:
  OnDevice(Plan plan, LoadedWeights weights, const StepCapacity& capacity, const CudaDevice& device)
      : device_(device.device()),
        buffers_(plan.buffers),
        executor_(std::move(plan), std::move(weights), capacity, device) {
    executor_.set_tape(false);  // it has checks of its own, and other bits
  }

  Executor& executor() override { return executor_; }
  void set_observer(std::function<void(size_t)> observer) override { executor_.set_observer(std::move(observer)); }
  TensorView read(BufferId id, int64_t rows) override {
    copy_ = executor_.read_buffer(id, rows);
    return copy_.view();
  }
  TensorView read_later(BufferId id, int64_t rows) override {
    const Buffer& buffer = buffers_[static_cast<size_t>(id)];
    std::byte* const there = pinned.take(size_bytes(buffer, rows));
    executor_.queue_read(id, rows, there);
    return {.data = there, .dtype = buffer.dtype, .rows = rows, .cols = buffer.cols, .row_stride = buffer.cols};
  }
  void forget() override { pinned.forget(); }
  void write(BufferId id, const TensorView& rows) override {
    const size_t bytes = size_bytes(buffers_[static_cast<size_t>(id)], rows.rows);
    std::byte* const here = pinned.take(bytes);
    std::memcpy(here, rows.data, bytes);
    executor_.queue_write(id, rows.rows, here);
  }
  bool attends_in_bytes() const override { return true; }
  std::vector<std::byte> kv_bytes(size_t stage, int64_t n_blocks) override {
    const KvView& kv = executor_.stage(stage).kv;
    std::vector<std::byte> bytes(static_cast<size_t>(n_blocks * kv.block_bytes));
    copy_bytes(bytes.data(), {}, kv.data, device_, bytes.size());
    return bytes;
  }

 private:
  static size_t size_bytes(const Buffer& buffer, int64_t rows) {
    return static_cast<size_t>(rows * buffer.cols) * dtype_size(buffer.dtype);
  }

  Device device_;
  std::vector<Buffer> buffers_;
  CudaExecutor executor_;
  Tensor copy_;
};

}  // namespace

const Backend& cuda_backend(const CudaDevice& device) {
  static const Backend kBackend{
      .kernels = &gpu::kernels(),
      .pack = gpu::uploader(device.device()),
      .make = [device](Plan plan, LoadedWeights weights, const StepCapacity& capacity) -> std::unique_ptr<Inspected> {
        const std::string problem = gpu::problem(plan, capacity, device);
        if (!problem.empty()) throw Error(ErrorCode::unsupported, problem);
        return std::make_unique<OnDevice>(std::move(plan), std::move(weights), capacity, device);
      }};
  return kBackend;
}

}  // namespace arc::test
