// Pre-tokenizers: how `tokenizers` cuts text into the pieces that the model sees. The many kinds of tokenizer.json come
// down to a few steps.
#pragma once

#include <cstddef>
#include <string>
#include <variant>
#include <vector>

#include "text/pattern.h"
#include "text/pieces.h"

namespace arc {

// What becomes of a match of the pattern that cuts.
enum class SplitBehavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };

struct SplitStep {
  Pattern pattern;
  SplitBehavior behavior = SplitBehavior::isolated;
  bool invert = false;  // what lies between the matches counts as the match
};
struct PrefixSpaceStep {};  // a space before every piece that has none
struct ByteLevelStep {};    // bytes to characters of the byte-level alphabet
struct MetaspaceStep {      // spaces become the mark, and one is put in front
  enum class Prepend { first, always, never };
  std::string mark;
  Prepend prepend = Prepend::always;
};

struct FixedLengthStep {  // pieces of so many characters
  size_t n_characters = 5;
};
struct ScriptsStep {};  // a cut wherever the script changes (UnicodeScripts)

using PreTokenizerStep =
    std::variant<SplitStep, PrefixSpaceStep, ByteLevelStep, MetaspaceStep, FixedLengthStep, ScriptsStep>;

struct PreTokenizer {
  std::vector<PreTokenizerStep> steps;

  Pieces apply(Pieces pieces) const;
};

// Reads the section `pre_tokenizer` of a tokenizer.json; null means no step.
PreTokenizer read_pre_tokenizer(const FileJson& section);

// Also the fields of the Metaspace decoder. Files of old versions have `add_prefix_space` instead of `prepend_scheme`.
MetaspaceStep read_metaspace(const JsonFields& fields);

}  // namespace arc
