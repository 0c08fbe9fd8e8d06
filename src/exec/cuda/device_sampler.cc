#include "exec/cuda/device_sampler.h"

#include <algorithm>
#include <cuda_runtime.h>

#include "base/check.h"
#include "base/error.h"

namespace arc {
namespace {

constexpr int32_t kMaxTables = 64;         // rows with penalties of their own, and with masks
constexpr int32_t kMaxBiases = 64 * 1024;  // entries of one step

int64_t padded(int64_t bytes) {
  return (bytes + 255) / 256 * 256;
}

// Bytes of each array, in the order of the constructor's places.
struct Sizes {
  int64_t rows, row_token, drawn, top, biases, counts, masks, scratch;

  Sizes(int64_t max_rows, int32_t vocab)
      : rows(padded(max_rows * static_cast<int64_t>(sizeof(SamplingRow)))),
        row_token(padded(max_rows * 4)),
        drawn(padded(max_rows * static_cast<int64_t>(sizeof(cuda::DrawnRow)))),
        top(padded(max_rows * kMaxTopLogprobs * static_cast<int64_t>(sizeof(RawLogprob)))),
        biases(padded(kMaxBiases * static_cast<int64_t>(sizeof(BiasEntry)))),
        counts(padded(std::min<int64_t>(max_rows, kMaxTables) * vocab * 4)),
        masks(padded(std::min<int64_t>(max_rows, kMaxTables) * mask_words(vocab) * 4)),
        scratch(padded(cuda::sample_scratch_bytes(vocab))) {}

  int64_t both_sides() const { return rows + row_token + drawn + top; }
  int64_t device() const { return both_sides() + biases + counts + masks + scratch; }
};

cudaStream_t stream_of(void* stream) {
  return static_cast<cudaStream_t>(stream);
}

template <typename T>
void copy_up(T* device, const T* host, int64_t count, void* stream) {
  cudaMemcpyAsync(device, host, static_cast<size_t>(count) * sizeof(T), cudaMemcpyHostToDevice, stream_of(stream));
}

}  // namespace

int64_t DeviceSampler::device_bytes(int32_t max_rows, int32_t vocab) {
  return Sizes(max_rows, vocab).device();
}

DeviceSampler::DeviceSampler(int32_t max_rows, int32_t vocab, Device device)
    : max_rows_(max_rows), vocab_(vocab), on_host_(static_cast<size_t>(max_rows)) {
  const Sizes sizes(max_rows, vocab);
  memory_ = Storage::allocate(static_cast<size_t>(sizes.device()), device);
  if (cudaMallocHost(&pinned_, static_cast<size_t>(sizes.both_sides())) != cudaSuccess) {
    throw Error(ErrorCode::resource, "no pinned memory for the GPU's sampler");
  }
  std::byte *there = memory_->data(), *here = pinned_;
  const auto place = [&](auto*& on_device, int64_t bytes) {
    on_device = reinterpret_cast<std::remove_reference_t<decltype(on_device)>>(there);
    there += bytes;
  };
  const auto place_both = [&](auto*& on_device, auto*& on_host, int64_t bytes) {
    place(on_device, bytes);
    on_host = reinterpret_cast<std::remove_reference_t<decltype(on_host)>>(here);
    here += bytes;
  };
  place_both(rows_, host_rows_, sizes.rows);
  place_both(row_token_, host_row_token_, sizes.row_token);
  place_both(drawn_, host_drawn_, sizes.drawn);
  place_both(top_, host_top_, sizes.top);
  place(biases_, sizes.biases);
  place(counts_, sizes.counts);
  place(masks_, sizes.masks);
  place(scratch_, sizes.scratch);
  count_rows_.reserve(kMaxTables);
  mask_rows_.reserve(kMaxTables);
}

DeviceSampler::~DeviceSampler() {
  cudaFreeHost(pinned_);
}

bool DeviceSampler::has_room(const StepInputs& inputs) noexcept {
  int32_t n_counts = 0, n_masks = 0;
  for (int32_t r = 0; r < inputs.n_rows; ++r) {
    const SamplingRow& row = inputs.sampling[r];
    n_counts += row.counts_row >= 0;
    n_masks += row.mask_row >= 0;
    if (row.bias_begin + row.bias_count > kMaxBiases) return false;
  }
  return std::max(n_counts, n_masks) <= kMaxTables;
}

// The device's row of the host's table row; -1: all are taken. New ones are at the end of `taken`.
int32_t DeviceSampler::table_row(std::vector<int32_t>& taken, int32_t host_row, int32_t limit) {
  const auto found = std::ranges::find(taken, host_row);
  if (found != taken.end()) return static_cast<int32_t>(found - taken.begin());
  if (static_cast<int32_t>(taken.size()) == limit) return -1;
  taken.push_back(host_row);
  return static_cast<int32_t>(taken.size()) - 1;
}

// Gives a row its places in the device's tables. False: there is none.
bool DeviceSampler::place(SamplingRow& row, const StepInputs& inputs, void* stream) {
  if (row.bias_begin + row.bias_count > kMaxBiases) return false;
  const int32_t limit = std::min(max_rows_, kMaxTables);
  if (row.counts_row >= 0) {
    const size_t before = count_rows_.size();
    const int32_t at = table_row(count_rows_, row.counts_row, limit);
    if (at < 0) return false;
    if (count_rows_.size() > before) {
      copy_up(counts_ + int64_t{at} * vocab_, inputs.tables.counts + int64_t{row.counts_row} * vocab_, vocab_, stream);
    }
    row.counts_row = at;
  }
  if (row.mask_row >= 0) {
    const int64_t words = mask_words(vocab_);
    const size_t before = mask_rows_.size();
    const int32_t at = table_row(mask_rows_, row.mask_row, limit);
    if (at < 0) return false;
    if (mask_rows_.size() > before) {
      copy_up(masks_ + at * words, inputs.tables.allowed + row.mask_row * words, words, stream);
    }
    row.mask_row = at;
  }
  return true;
}

void DeviceSampler::upload(const StepInputs& inputs, void* stream) {
  ARC_CHECK(inputs.n_rows <= max_rows_) << inputs.n_rows;
  n_rows_ = inputs.n_rows;
  n_on_host_ = 0;
  any_top_ = false;
  count_rows_.clear();
  mask_rows_.clear();
  int32_t n_biases = 0;
  for (int32_t r = 0; r < n_rows_; ++r) {
    SamplingRow& row = host_rows_[r];
    row = inputs.sampling[r];
    host_row_token_[r] = inputs.row_token != nullptr ? inputs.row_token[r] : -1;
    if (host_row_token_[r] >= 0) row.bias_count = 0, row.counts_row = row.mask_row = -1;
    const bool wants_logits = inputs.row_logits != nullptr && inputs.row_logits[r] != nullptr;
    const bool placed = !wants_logits && place(row, inputs, stream);
    on_host_[static_cast<size_t>(r)] = !placed;
    if (placed) {
      if (row.bias_count > 0) n_biases = std::max(n_biases, row.bias_begin + row.bias_count);
      any_top_ = any_top_ || row.n_logprobs > 0;
    } else {
      ++n_on_host_;
      row = SamplingRow{.temperature = 0.0f};
    }
  }
  copy_up(rows_, host_rows_, n_rows_, stream);
  copy_up(row_token_, host_row_token_, n_rows_, stream);
  if (n_biases > 0) copy_up(biases_, inputs.tables.biases, n_biases, stream);
}

void DeviceSampler::launch(const float* logits, int32_t n_rows, void* stream) {
  cuda::sample({.logits = logits,
                .n_rows = n_rows,
                .vocab = vocab_,
                .rows = rows_,
                .row_token = row_token_,
                .tables = {.biases = biases_, .counts = counts_, .allowed = masks_},
                .drawn = drawn_,
                .top = top_,
                .scratch = scratch_},
               stream);
}

void DeviceSampler::fetch(void* stream) {
  const auto rows = static_cast<size_t>(n_rows_);
  cudaMemcpyAsync(host_drawn_, drawn_, rows * sizeof(cuda::DrawnRow), cudaMemcpyDeviceToHost, stream_of(stream));
  if (!any_top_) return;
  cudaMemcpyAsync(host_top_, top_, rows * kMaxTopLogprobs * sizeof(RawLogprob), cudaMemcpyDeviceToHost,
                  stream_of(stream));
}

void DeviceSampler::result(int32_t row, RowResult& out) const {
  const cuda::DrawnRow& drawn = host_drawn_[row];
  out.outcome = static_cast<SampleOutcome>(drawn.outcome);
  out.token = drawn.token;
  out.logprob = drawn.logprob;
  const RawLogprob* top = host_top_ + int64_t{row} * kMaxTopLogprobs;
  out.top.assign(top, top + drawn.n_top);
}

}  // namespace arc
