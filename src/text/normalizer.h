// Normalizers: what `tokenizers` does to text before it is cut. A list of steps, each a value.
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "text/pattern.h"
#include "text/unicode.h"

namespace arc {

struct PrependText {
  std::string text;  // before any text that is not empty
};
struct ReplaceText {
  Pattern pattern;
  std::string content;
};
struct StripSpaces {
  bool left = true, right = true;
};
struct RemoveMarks {};
struct Lowercase {};
struct ByteLevelMap {};

using NormalizerStep =
    std::variant<PrependText, ReplaceText, StripSpaces, RemoveMarks, Lowercase, ByteLevelMap, UnicodeForm>;

struct Normalizer {
  std::vector<NormalizerStep> steps;

  std::string apply(std::string_view text) const;
};

// Reads the section `normalizer` of a tokenizer.json; null means no step.
Normalizer read_normalizer(const FileJson& section);

}  // namespace arc
