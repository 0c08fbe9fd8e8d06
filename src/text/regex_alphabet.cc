#include "text/regex_alphabet.h"

#include <algorithm>

#include "fmt/format.h"

namespace arc {

RegexAlphabet::RegexAlphabet(const std::vector<CodeSet>& sets) : members_(sets.size()) {
  std::vector<char32_t> borders = {0, kMaxCodePoint + 1};
  for (const CodeSet& set : sets) {
    for (const auto& [first, last] : set.ranges()) borders.insert(borders.end(), {first, last + 1});
  }
  std::ranges::sort(borders);
  borders.erase(std::unique(borders.begin(), borders.end()), borders.end());
  std::vector<size_t> at(sets.size());  // by set: its first range that has not ended
  for (size_t i = 0; i + 1 < borders.size(); ++i) {
    std::vector<bool> inside(sets.size());
    for (size_t set = 0; set < sets.size(); ++set) {
      const auto& ranges = sets[set].ranges();
      while (at[set] < ranges.size() && ranges[at[set]].last < borders[i]) ++at[set];
      inside[set] = at[set] < ranges.size() && ranges[at[set]].first <= borders[i];
    }
    const auto symbol = symbol_for(inside);
    if (!symbol) return;
    symbol_of.set(borders[i], borders[i + 1] - 1, *symbol);
  }
  complete_ = true;
}

std::optional<uint8_t> RegexAlphabet::symbol_for(const std::vector<bool>& inside) {
  const auto it = symbols_.find(inside);
  if (it != symbols_.end()) return it->second;
  const bool newline = inside[0];
  if (!newline && next_ == kNewline) ++next_;
  if (!newline && next_ == kMaxSymbols) return std::nullopt;
  const auto symbol = static_cast<uint8_t>(newline ? kNewline : next_++);
  symbols_.emplace(inside, symbol);
  for (size_t set = 0; set < inside.size(); ++set) {
    if (inside[set]) members_[set].push_back(symbol);
  }
  return symbol;
}

std::string RegexAlphabet::text(size_t set) const {
  if (members_[set].empty()) return "(?!)";
  std::string out = "[";
  for (const uint8_t symbol : members_[set]) out += fmt::format("\\x{:02x}", symbol);
  return out + "]";
}

}  // namespace arc
