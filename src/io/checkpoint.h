// A model's weights by name. Built from file headers alone; no weight is read before it is asked for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/dtype.h"
#include "base/mapped_file.h"
#include "quant/block_code.h"
#include "tensor/shape.h"
#include "tensor/tensor.h"

namespace arc {

// Where a tensor lies. Whoever makes one has checked it against the file.
struct TensorEntry {
  std::string name;
  DType dtype = DType::f32;  // `packed` with a block code
  BlockCode code = BlockCode::none;
  Shape shape;            // of elements
  size_t offset = 0;      // of the first byte in its file
  size_t size_bytes = 0;  // of all elements
  uint32_t file = 0;      // index of its file in the Checkpoint
};

using Metadata = std::map<std::string, std::string>;

// One file and what its header says.
struct CheckpointFile {
  std::filesystem::path path;
  std::shared_ptr<const MappedFile> data;
  std::vector<TensorEntry> tensors;
  Metadata metadata;
};

class Checkpoint {
 public:
  Checkpoint() = default;
  // Throws Error(corrupt_data) when two files have a tensor of the same name.
  explicit Checkpoint(std::vector<CheckpointFile> files);

  // By ascending name.
  const std::vector<TensorEntry>& tensors() const { return entries_; }
  // Null when there is none.
  const TensorEntry* find(std::string_view name) const;
  // Free text that the files carry about themselves; of files that disagree, the first one's.
  const Metadata& metadata() const { return metadata_; }
  const std::filesystem::path& path_of(const TensorEntry& entry) const { return files_[entry.file].path; }
  size_t size_bytes() const;

  // A view of the mapped file, or a copy where the file leaves the elements misaligned; blocks come as their bytes,
  // without a shape. The tensor keeps its file alive. Throws Error(not_found) that names the tensor.
  Tensor load(std::string_view name) const;

  // Gives back the memory of a tensor's pages: for when its weights have been copied elsewhere. Reading it again is
  // allowed, and reads the file again.
  void release(std::string_view name) const;

 private:
  const TensorEntry& at(std::string_view name) const;

  std::vector<CheckpointFile> files_;  // their `tensors` moved to `entries_`
  std::vector<TensorEntry> entries_;
  Metadata metadata_;
};

}  // namespace arc
