// Sampling on the device for the rows of a step: the tables that the kernels read, at fixed addresses, and the results.
#pragma once

#include <memory>
#include <vector>

#include "exec/executor.h"
#include "kernels/cuda/sample.h"

namespace arc {

// Rows of a step from which tokens are drawn, at most; room for one where the model makes none.
inline int32_t sampled_rows(const Plan& plan, const StepCapacity& capacity) {
  return plan.logits == kNone ? 1 : capacity.rows;
}

class DeviceSampler {
 public:
  // For steps of up to `max_rows` rows. Throws Error(resource).
  DeviceSampler(int32_t max_rows, int32_t vocab, Device device);
  ~DeviceSampler();
  DeviceSampler(const DeviceSampler&) = delete;
  DeviceSampler& operator=(const DeviceSampler&) = delete;

  // Whether the tables have room for all rows of a step.
  static bool has_room(const StepInputs& inputs) noexcept;
  static int64_t device_bytes(int32_t max_rows, int32_t vocab);

  // Queues what the rows need. A row for which a table has no room, or whose logits are wanted, is left to the host.
  void upload(const StepInputs& inputs, void* stream);
  // Draws from logits [R, V] in device memory. Can be captured.
  void launch(const float* logits, int32_t n_rows, void* stream);
  // Queues the copy of the results of the rows uploaded.
  void fetch(void* stream);

  bool on_host(int32_t row) const { return on_host_[static_cast<size_t>(row)]; }
  bool any_on_host() const { return n_on_host_ > 0; }
  // After fetch(), when the stream is done; a row that is not on_host().
  void result(int32_t row, RowResult& out) const;

  SamplingRow* rows() const { return rows_; }
  uint32_t* counts() const { return counts_; }
  const cuda::DrawnRow* drawn() const { return drawn_; }

 private:
  int32_t table_row(std::vector<int32_t>& taken, int32_t host_row, int32_t limit);
  bool place(SamplingRow& row, const StepInputs& inputs, void* stream);

  int32_t max_rows_ = 0, vocab_ = 0, n_rows_ = 0, n_on_host_ = 0;
  bool any_top_ = false;
  std::shared_ptr<Storage> memory_;
  // On the device.
  SamplingRow* rows_ = nullptr;
  int32_t* row_token_ = nullptr;
  BiasEntry* biases_ = nullptr;
  uint32_t *counts_ = nullptr, *masks_ = nullptr;
  cuda::DrawnRow* drawn_ = nullptr;
  RawLogprob* top_ = nullptr;
  std::byte* scratch_ = nullptr;
  // On the host, pinned.
  std::byte* pinned_ = nullptr;
  SamplingRow* host_rows_ = nullptr;
  int32_t* host_row_token_ = nullptr;
  cuda::DrawnRow* host_drawn_ = nullptr;
  RawLogprob* host_top_ = nullptr;

  std::vector<bool> on_host_;
  std::vector<int32_t> count_rows_, mask_rows_;  // of the host's tables, in the order of the device's rows
};

}  // namespace arc
