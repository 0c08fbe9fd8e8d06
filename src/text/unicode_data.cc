#include "text/unicode_data.h"

namespace arc::unicode_data {

uint32_t Numbers::next() {
  uint32_t number = 0;
  for (int shift = 0;; shift += 7) {
    const uint8_t byte = bytes_[i_++];
    number |= static_cast<uint32_t>(byte & 0x7F) << shift;
    if (byte < 0x80) return number;
  }
}

CodeSet decode_set(Bytes bytes) {
  std::vector<CodeRange> ranges;
  char32_t end = 0;
  for (Numbers numbers(bytes); !numbers.done();) {
    const char32_t first = end + numbers.next(), last = first + numbers.next();
    ranges.push_back({first, last});
    end = last + 1;
  }
  return CodeSet(std::move(ranges));
}

CodePointTable<bool> decode_test(Bytes bytes) {
  CodePointTable<bool> table;
  const CodeSet set = decode_set(bytes);
  for (const CodeRange& range : set.ranges()) table.set(range.first, range.last, true);
  return table;
}

std::vector<ValueRange> decode_values(Bytes bytes) {
  std::vector<ValueRange> ranges;
  char32_t end = 0;
  for (Numbers numbers(bytes); !numbers.done();) {
    const char32_t first = end + numbers.next(), last = first + numbers.next();
    ranges.push_back({{first, last}, numbers.next()});
    end = last + 1;
  }
  return ranges;
}

}  // namespace arc::unicode_data
