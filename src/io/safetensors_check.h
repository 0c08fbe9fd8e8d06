// What must hold for every header that the parser accepts; shared by the tests and the fuzz target.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "io/safetensors.h"

namespace arc::test {

// The first broken promise of `header`; empty when it keeps all. Counts the owners of every byte, which the parser does
// not.
inline std::string broken_promise(const SafetensorsHeader& header, std::span<const std::byte> file) {
  uint64_t data_begin = 8;
  for (size_t i = 0; i < 8; ++i) data_begin += std::to_integer<uint64_t>(file[i]) << (8 * i);
  std::vector<int> owners(file.size(), 0);
  for (size_t i = 0; i < header.tensors.size(); ++i) {
    const TensorEntry& t = header.tensors[i];
    if (t.offset < data_begin || t.offset > file.size()) return t.name + " starts outside the data";
    if (t.size_bytes > file.size() - t.offset) return t.name + " ends outside the data";
    if (t.size_bytes != static_cast<size_t>(t.shape.numel()) * dtype_size(t.dtype)) return t.name + " has a wrong size";
    if (i > 0 && !(header.tensors[i - 1].name < t.name)) return t.name + " is out of order";
    for (size_t b = 0; b < t.size_bytes; ++b) ++owners[t.offset + b];
  }
  for (size_t b = data_begin; b < file.size(); ++b) {
    if (owners[b] != 1) return "byte " + std::to_string(b) + " has " + std::to_string(owners[b]) + " owners";
  }
  return "";
}

}  // namespace arc::test
