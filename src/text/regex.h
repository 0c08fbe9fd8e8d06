// Regular expressions of tokenizer files, translated to an alphabet of bytes (regex_translate.h) and run by PCRE2's
// JIT.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/regex_translate.h"

namespace arc {

struct Span {
  size_t begin = 0, end = 0;
};

// Immutable, shareable between threads, cheap to copy.
class Regex {
 public:
  // Throws Error(unsupported or corrupt_data) that quotes the pattern.
  explicit Regex(std::string_view pattern, RegexDialect dialect = RegexDialect::oniguruma);

  // All matches in `text` (valid UTF-8), left to right, not overlapping. Empty matches count, except right after
  // another match. Throws Error(resource) when the pattern backtracks beyond the limit.
  std::vector<Span> find_all(std::string_view text) const;

 private:
  std::shared_ptr<const struct CompiledRegex> compiled_;
};

}  // namespace arc
