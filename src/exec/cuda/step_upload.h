// The arrays of a step on a device: everything that StepInputs points to, in one copy from pinned memory.
#pragma once

#include <cstddef>
#include <cstdint>

#include "exec/executor.h"
#include "exec/table_copy.h"

namespace arc {

class StepUpload {
 public:
  // For steps of `plan` up to `capacity`; a larger one is a bug. Keeps a pointer to `plan`.
  StepUpload(const Plan& plan, const StepCapacity& capacity);
  ~StepUpload();
  StepUpload(const StepUpload&) = delete;
  StepUpload& operator=(const StepUpload&) = delete;

  // The same step with device addresses; the copy is queued on `stream`. Sampling tables stay with the host. What was
  // uploaded before must have been used: the caller waits for the stream between steps.
  const StepInputs& upload(const StepInputs& host, void* stream);

 private:
  template <typename T>
  const T* put(const T* host, int64_t count);
  size_t take(size_t bytes);

  const Plan& plan_;
  std::byte *pinned_ = nullptr, *device_ = nullptr;
  size_t size_ = 0, used_ = 0;
  StepInputs inputs_;
  TableCopy tables_[kMaxCacheGroups];
};

}  // namespace arc
