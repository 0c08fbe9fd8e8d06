#include "io/checkpoint.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "fmt/format.h"

#include "base/error.h"
#include "io/printable.h"

namespace arc {

Checkpoint::Checkpoint(std::vector<CheckpointFile> files) : files_(std::move(files)) {
  for (uint32_t f = 0; f < files_.size(); ++f) {
    for (TensorEntry& entry : std::exchange(files_[f].tensors, {})) {
      entries_.push_back(std::move(entry));
      entries_.back().file = f;
    }
    metadata_.insert(files_[f].metadata.begin(), files_[f].metadata.end());
  }
  std::ranges::sort(entries_, {}, &TensorEntry::name);
  const auto twice = std::ranges::adjacent_find(entries_, {}, &TensorEntry::name);
  if (twice == entries_.end()) return;
  throw Error(ErrorCode::corrupt_data,
              fmt::format("tensor {} is in {} and in {}; remove the file that is not part of this model",
                          printable(twice->name), path_of(twice[0]).string(), path_of(twice[1]).string()));
}

const TensorEntry* Checkpoint::find(std::string_view name) const {
  const auto found = std::ranges::lower_bound(entries_, name, {}, &TensorEntry::name);
  return found != entries_.end() && found->name == name ? &*found : nullptr;
}

size_t Checkpoint::size_bytes() const {
  size_t sum = 0;
  for (const TensorEntry& entry : entries_) sum += entry.size_bytes;
  return sum;
}

Tensor Checkpoint::load(std::string_view name) const {
  const TensorEntry& entry = at(name);
  const std::shared_ptr<Storage> mapped = Storage::map(files_[entry.file].data, entry.offset, entry.size_bytes);
  if (entry.code != BlockCode::none) {
    return Tensor(mapped, 0, {static_cast<int64_t>(entry.size_bytes)}, DType::packed);
  }
  if (entry.offset % dtype_size(entry.dtype) == 0) return Tensor(mapped, 0, entry.shape, entry.dtype);
  const Tensor copy = Tensor::zeros(entry.shape, entry.dtype);
  std::memcpy(copy.data(), mapped->data(), entry.size_bytes);
  return copy;
}

void Checkpoint::release(std::string_view name) const {
  const TensorEntry& entry = at(name);
  files_[entry.file].data->release(entry.offset, entry.size_bytes);
}

const TensorEntry& Checkpoint::at(std::string_view name) const {
  const TensorEntry* entry = find(name);
  if (entry != nullptr) return *entry;
  throw Error(ErrorCode::not_found,
              fmt::format("there is no tensor {} among the {} of {}", printable(name), entries_.size(),
                          files_.empty() ? "no file" : files_.front().path.string()));
}

}  // namespace arc
