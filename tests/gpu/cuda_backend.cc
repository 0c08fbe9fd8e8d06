#include "gpu/cuda_backend.h"

#include "base/error.h"
#include "exec/cuda/cuda_backend.h"
#include "exec/cuda/cuda_executor.h"

namespace arc::test {
namespace {

class OnDevice : public Inspected {
 public:
  OnDevice(Plan plan, LoadedWeights weights, const StepCapacity& capacity, const CudaDevice& device)
      : device_(device.device()), executor_(std::move(plan), std::move(weights), capacity, device) {
    executor_.set_tape(false);  // it has checks of its own, and other bits
  }

  Executor& executor() override { return executor_; }
  void set_observer(std::function<void(size_t)> observer) override { executor_.set_observer(std::move(observer)); }
  TensorView read(BufferId id, int64_t rows) override {
    copy_ = executor_.read_buffer(id, rows);
    return copy_.view();
  }
  void write(BufferId id, const TensorView& rows) override { executor_.write_buffer(id, rows); }
  bool attends_in_bytes() const override { return true; }
  std::vector<std::byte> kv_bytes(size_t stage, int64_t n_blocks) override {
    const KvView& kv = executor_.stage(stage).kv;
    std::vector<std::byte> bytes(static_cast<size_t>(n_blocks * kv.block_bytes));
    copy_bytes(bytes.data(), {}, kv.data, device_, bytes.size());
    return bytes;
  }

 private:
  Device device_;
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
