#include "exec/cuda/tape_decoder.h"

#include <algorithm>
#include <cuda_runtime.h>
#include <span>
#include <utility>

#include "base/error.h"
#include "quant/turbo.h"

namespace arc {
namespace {

uint64_t address_of(const void* p) {
  return reinterpret_cast<uint64_t>(p);
}

template <typename T>
std::shared_ptr<Storage> on_device(std::span<const T> host, Device device) {
  auto there = Storage::allocate(host.size_bytes(), device);
  copy_bytes(there->data(), device, reinterpret_cast<const std::byte*>(host.data()), {}, host.size_bytes());
  return there;
}

}  // namespace

TapeDecoder::TapeDecoder(const Plan& plan, const CudaDevice& device)
    : n_processors_(static_cast<uint32_t>(device.n_processors)), device_(device.device()) {
  if (device.capability < 90) throw Error(ErrorCode::unsupported, "it needs a GPU of capability 9.0");
  tape_ = lower_tape(plan, n_processors_, {});
  if (tape::load_walk() != cudaSuccess) {
    cudaGetLastError();  // clears it
    throw Error(ErrorCode::unsupported, "the GPU has too little shared memory");
  }
}

void TapeDecoder::bind(const Plan& plan, const LoadedWeights& weights, const CacheStorage& cache,
                       const BoundPlan& bound) {
  const size_t n_maps = tape_.matrices.size() + 1;
  buffers_ = Storage::allocate(tape_.buffer_bytes, device_);
  maps_ = Storage::allocate(n_maps * tape::kMapBytes, device_);
  step_ = Storage::allocate(sizeof(uint32_t), device_);
  TapePlaces places{.buffers = address_of(buffers_->data()),
                    .maps = address_of(maps_->data()),
                    .weights = {},
                    .biases = {},
                    .logits = address_of(bound.buffer(plan.logits).data),
                    .groups = {}};
  for (int g = 0; g < static_cast<int>(plan.groups.size()); ++g) {
    const KvView kv = cache.kv(g, 0);
    places.groups.push_back(
        {.cache = address_of(kv.data), .layer_bytes = static_cast<uint64_t>(cache.n_blocks(g) * kv.block_bytes)});
  }
  for (const Linear& weight : weights.weights) {
    places.weights.push_back(address_of(weight.view().data));
    places.biases.push_back(address_of(weight.view().bias));
  }
  tape_ = lower_tape(plan, n_processors_, places);

  struct alignas(64) Map {
    std::byte bytes[tape::kMapBytes] = {};
  };
  std::vector<Map> maps(n_maps);
  bool made = true;
  for (size_t i = 0; i < tape_.matrices.size(); ++i) {
    const TapeMatrix& m = tape_.matrices[i];
    made &= tape::matrix_map(&maps[i], places.weights[static_cast<size_t>(m.weight)], m.count, m.parts, m.rows, m.n_in,
                             m.columns);
  }
  const auto rows = static_cast<size_t>(tape_.rows_group);
  made &= tape::cache_map(&maps.back(), places.groups[rows].cache,
                          places.groups[rows].layer_bytes * plan.groups[rows].layers.size(),
                          plan.groups[rows].policy.is_raw() ? tape::CacheForm::bf16 : tape::CacheForm::int8);
  if (!made) throw Error(ErrorCode::resource, "the GPU's driver makes no tensor maps");
  copy_bytes(maps_->data(), device_, reinterpret_cast<const std::byte*>(maps.data()), {}, n_maps * tape::kMapBytes);
  records_ = on_device(std::span<const tape::TapeStage>(tape_.stages), device_);
  deals_ = on_device(std::span<const tape::DealShare>(tape_.deals), device_);
  codecs_.clear();
  for (const int32_t g : tape_.codec_groups) {
    const KvView kv = cache.kv(g, 0);
    codecs_.push_back(tape::cache_codec(kv));
    turn_ = tape::cache_turn(*kv.k_turbo);
  }
}

int TapeDecoder::launch(const StepInputs& on_device, void* stream, size_t n_stages) const noexcept {
  tape::LaunchArgs args{.stages = reinterpret_cast<const tape::TapeStage*>(records_->data()),
                        .deals = reinterpret_cast<const tape::DealShare*>(deals_->data()),
                        .n_stages = static_cast<uint32_t>(n_stages),
                        .step = reinterpret_cast<uint32_t*>(step_->data()),
                        .token = on_device.tokens,
                        .position = on_device.positions,
                        .cache_map = address_of(maps_->data()) + tape_.matrices.size() * tape::kMapBytes,
                        .turn = turn_};
  for (int g = 0; g < kMaxCacheGroups; ++g) args.block_tables[g] = on_device.groups[g].block_table;
  std::ranges::copy(codecs_, args.codecs);
  return tape::walk(args, tape_.n_sms, stream);
}

Tensor TapeDecoder::read(uint64_t address, int64_t size_bytes) const {
  Tensor host = Tensor::zeros({size_bytes}, DType::u8);
  copy_bytes(host.data(), {}, reinterpret_cast<const std::byte*>(address), device_, host.size_bytes());
  return host;
}

uint32_t TapeDecoder::last_step() const {
  return *read(address_of(step_->data()), sizeof(uint32_t)).as<uint32_t>() - 1;
}

}  // namespace arc
