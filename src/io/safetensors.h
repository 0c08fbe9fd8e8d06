// The safetensors format, read and written.
//
//   u64 little-endian: length of the header | header: one JSON object, padded with spaces | data
//   header: {"__metadata__": {string: string}, name: {"dtype": "F32", "shape": [..], "data_offsets": [begin, end]}, ..}
//
// Offsets count from the start of the data; tensors cover it without holes or overlaps. A model in several files has an
// index beside them: {"weight_map": {name: file}}. Source: https://github.com/huggingface/safetensors.
#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/checkpoint.h"
#include "tensor/tensor.h"

namespace arc {

// Opens one .safetensors file, or all files of a .safetensors.index.json. Throws Error(not_found, io, corrupt_data,
// unsupported) that names the file, the tensor and the remedy.
Checkpoint open_safetensors(const std::filesystem::path& path);

struct NamedTensor {
  std::string name;
  Tensor tensor;
};

// Writes a file that depends on nothing but the arguments' contents: widest elements first, so that all are aligned,
// then by name. The file appears under its name only when it is complete. Throws Error(invalid_argument, io).
void write_safetensors(const std::filesystem::path& path, std::span<const NamedTensor> tensors,
                       const Metadata& metadata = {});

// ---- the two parsers, over bytes from anywhere ---------------------------------------------------------------------

struct SafetensorsHeader {
  std::vector<TensorEntry> tensors;  // by ascending name; offsets count from the start of the file
  Metadata metadata;
};

// Reads the header of a whole file and checks every number in it against the file's size. `file_name` is for messages.
SafetensorsHeader parse_safetensors_header(std::span<const std::byte> file, std::string_view file_name);

// Reads an index: tensor name to file name, the latter a plain name that stays in its folder.
std::map<std::string, std::string> parse_safetensors_index(std::string_view text, std::string_view file_name);

}  // namespace arc
