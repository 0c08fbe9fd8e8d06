#include "exec/cuda/step_upload.h"

#include <cstring>
#include <cuda_runtime.h>

#include "base/check.h"
#include "base/error.h"

namespace arc {
namespace {

constexpr size_t kAlignment = 16;

// Bytes of all arrays of the largest step, each with the room that its alignment may take.
size_t largest_step(const Plan& plan, const StepCapacity& capacity) {
  const auto tokens = static_cast<size_t>(capacity.tokens), rows = static_cast<size_t>(capacity.rows);
  const auto seqs = static_cast<size_t>(capacity.seqs > 0 ? capacity.seqs : capacity.tokens);
  const int32_t positions = capacity.positions > 0 ? capacity.positions : plan.max_positions;
  size_t bytes = 8 * tokens + 4 * rows + 12 * seqs + 4 + 6 * kAlignment;
  for (const CacheNeeds& group : plan.groups) {
    const size_t tiles = group.kind == CacheKind::state ? 0 : static_cast<size_t>(positions) / kTileTokens + 2;
    bytes += 8 * tokens + 4 * seqs * (tiles + 2) + 3 * kAlignment;
  }
  return bytes;
}

}  // namespace

StepUpload::StepUpload(const Plan& plan, const StepCapacity& capacity)
    : plan_(plan), size_(largest_step(plan, capacity)) {
  if (cudaMallocHost(&pinned_, size_) != cudaSuccess || cudaMalloc(&device_, size_) != cudaSuccess) {
    cudaFreeHost(pinned_);
    throw Error(ErrorCode::resource, "the GPU has no memory for the inputs of a step");
  }
}

StepUpload::~StepUpload() {
  cudaFreeHost(pinned_);
  cudaFree(device_);
}

// Where as many bytes go.
size_t StepUpload::take(size_t bytes) {
  const size_t at = used_;
  ARC_CHECK(at + bytes <= size_) << at << " + " << bytes << " of " << size_;
  used_ = (at + bytes + kAlignment - 1) / kAlignment * kAlignment;
  return at;
}

template <typename T>
const T* StepUpload::put(const T* host, int64_t count) {
  if (host == nullptr || count == 0) return nullptr;
  const size_t bytes = static_cast<size_t>(count) * sizeof(T), at = take(bytes);
  std::memcpy(pinned_ + at, host, bytes);
  return reinterpret_cast<const T*>(device_ + at);
}

const StepInputs& StepUpload::upload(const StepInputs& host, void* stream) {
  used_ = 0;
  inputs_ = host;
  inputs_.tokens = put(host.tokens, host.n_tokens);
  inputs_.positions = put(host.positions, host.n_tokens);
  inputs_.q_start = put(host.q_start, host.n_seqs + 1);
  inputs_.seq_lens = put(host.seq_lens, host.n_seqs);
  inputs_.known_lens = put(host.known_lens, host.n_seqs);
  inputs_.rows = put(host.rows, host.n_rows);
  for (size_t g = 0; g < plan_.groups.size(); ++g) {
    const GroupInputs& from = host.groups[g];
    GroupInputs& to = inputs_.groups[g];
    if (plan_.groups[g].kind == CacheKind::state) {
      to.state_read = put(from.state_read, host.n_seqs);
      to.state_write = put(from.state_write, host.n_seqs);
    } else {
      to.slots = put(from.slots, host.n_tokens);
      if (from.block_table == nullptr) {
        tables_[g] = {};
        continue;
      }
      const size_t at =
          take(sizeof(int32_t) * static_cast<size_t>(host.n_seqs) * static_cast<size_t>(from.table_stride));
      tables_[g].write(host, static_cast<int>(g), plan_.groups[g].policy.tile_tokens, host.n_seqs, host.n_seqs,
                       reinterpret_cast<int32_t*>(pinned_ + at));
      to.block_table = reinterpret_cast<const int32_t*>(device_ + at);
    }
  }
  cudaMemcpyAsync(device_, pinned_, used_, cudaMemcpyHostToDevice, static_cast<cudaStream_t>(stream));
  return inputs_;
}

}  // namespace arc
