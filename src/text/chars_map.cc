#include "text/chars_map.h"

#include "base/error.h"
#include "base/utf8.h"

namespace arc {
namespace {

[[noreturn]] void fail(const char* what) {
  throw Error(ErrorCode::corrupt_data, std::string("tokenizer: the normalization rules ") + what);
}

uint32_t unit_at(std::string_view blob, size_t i) {
  uint32_t unit = 0;
  for (size_t byte = 4; byte-- > 0;) unit = unit << 8 | static_cast<uint8_t>(blob[4 * i + byte]);
  return unit;
}

// The bits of a unit, as the Darts library has them.
uint32_t offset_of(uint32_t unit) {
  return (unit >> 10) << ((unit & 0x200) >> 6);
}
bool has_value(uint32_t unit) {
  return (unit & 0x100) != 0;
}
constexpr uint32_t kLabelMask = 0x800000FF;
constexpr uint32_t kValueMask = 0x7FFFFFFF;

constexpr size_t kMaxResultBytes = 128;  // real rules have a third of that

bool continues_character(char byte) {
  return (byte & 0xC0) == 0x80;
}

}  // namespace

CharsMap::CharsMap(std::string_view blob) {
  if (blob.empty()) return;
  if (blob.size() < 4) fail("are cut off");
  const size_t trie_bytes = unit_at(blob, 0);
  if (trie_bytes % 4 != 0 || trie_bytes == 0 || trie_bytes > blob.size() - 4) fail("have a trie of the wrong size");
  for (size_t i = 0; i < trie_bytes / 4; ++i) units_.push_back(unit_at(blob.substr(4), i));
  results_ = blob.substr(4 + trie_bytes);
  if (!is_valid_utf8(results_)) fail("are not valid UTF-8");
  if (results_.empty() || results_.back() != '\0') fail("have a result without an end");
  for (size_t begin = 0, end = 0; begin < results_.size(); begin = end + 1) {
    end = results_.find('\0', begin);
    if (end - begin > kMaxResultBytes) fail("have a result that is too long");
  }
}

std::optional<CharsMap::Match> CharsMap::find(std::string_view text, bool shortest) const {
  std::optional<Match> found;
  if (units_.empty()) return found;
  uint32_t node = offset_of(units_[0]);
  for (size_t i = 0; i < text.size(); ++i) {
    node ^= static_cast<uint8_t>(text[i]);
    if (node >= units_.size() || (units_[node] & kLabelMask) != static_cast<uint8_t>(text[i])) break;
    const uint32_t unit = units_[node];
    node ^= offset_of(unit);
    if (!has_value(unit) || node >= units_.size()) continue;
    const size_t begin = units_[node] & kValueMask;
    const bool splits_character = i + 1 < text.size() && continues_character(text[i + 1]);
    if (splits_character || begin >= results_.size() || continues_character(results_[begin])) continue;
    found = Match{i + 1, results_.c_str() + begin};
    if (shortest) break;
  }
  return found;
}

}  // namespace arc
