// The generated tables, and how to read them. Only for the files that implement unicode.h.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "text/code_point_table.h"
#include "text/code_set.h"

namespace arc::unicode_data {

struct NamedSet {
  const char* name = nullptr;   // of a script or property: small letters only
  uint32_t begin = 0, end = 0;  // its bytes in kNamedSets
};

#include "text/unicode_tables.inc"  // NOLINT(bugprone-suspicious-include)

using Bytes = std::span<const uint8_t>;

// Numbers in LEB128, one after the other.
class Numbers {
 public:
  explicit Numbers(Bytes bytes) : bytes_(bytes) {}
  bool done() const { return i_ == bytes_.size(); }
  uint32_t next();

 private:
  Bytes bytes_;
  size_t i_ = 0;
};

CodeSet decode_set(Bytes bytes);
CodePointTable<bool> decode_test(Bytes bytes);

struct ValueRange {
  CodeRange range;
  uint32_t value = 0;
};
std::vector<ValueRange> decode_values(Bytes bytes);
template <typename T>
CodePointTable<T> decode_table(Bytes bytes) {
  CodePointTable<T> table;
  for (const auto& [range, value] : decode_values(bytes)) table.set(range.first, range.last, static_cast<T>(value));
  return table;
}

}  // namespace arc::unicode_data
