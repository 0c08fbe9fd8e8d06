// What must hold for every GGUF header that the parser accepts; shared by the tests and the fuzz target.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "nlohmann/json.hpp"

#include "io/gguf.h"

namespace arc::test {

// The first broken promise of `header`; empty when it keeps all. Reads every value, and counts the owners of every
// byte.
inline std::string broken_promise(const GgufHeader& header, std::span<const std::byte> file) {
  for (const auto& [key, value] : header.metadata) {
    const size_t items = value.strings().size() + value.integers().size() + value.numbers().size();
    if (items > 2 * value.count()) return key + " has more elements than it says";
    if (value.json().is_array() != value.is_array()) return key + " changes its kind";
  }
  std::vector<int> owners(file.size(), 0);
  for (size_t i = 0; i < header.tensors.size(); ++i) {
    const TensorEntry& t = header.tensors[i];
    if (t.offset > file.size() || t.size_bytes > file.size() - t.offset) return t.name + " lies outside the file";
    const BlockCodeInfo& info = block_code_info(t.code);
    const auto unit = t.code == BlockCode::none ? dtype_size(t.dtype) : static_cast<size_t>(info.bytes);
    if (t.size_bytes != static_cast<size_t>(t.shape.numel() / info.elements) * unit)
      return t.name + " has a wrong size";
    if (i > 0 && !(header.tensors[i - 1].name < t.name)) return t.name + " is out of order";
    for (size_t b = 0; b < t.size_bytes; ++b) {
      if (++owners[t.offset + b] > 1) return "byte " + std::to_string(b) + " of " + t.name + " has two owners";
    }
  }
  return "";
}

}  // namespace arc::test
