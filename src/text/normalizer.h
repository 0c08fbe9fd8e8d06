// Normalizers: what `tokenizers` does to text before it is cut. A list of steps, each a value.
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "text/byte_range.h"
#include "text/pattern.h"
#include "text/precompiled.h"
#include "text/sentencepiece.h"
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
struct NmtClean {};           // control characters vanish, others like spaces become spaces
struct BertCleaning {         // in this order
  bool clean_text = true;     // control characters vanish, white space becomes a space
  bool chinese_apart = true;  // a space on either side of every Chinese character
  bool strip_accents = true;  // NFD without its marks
  bool lowercase = true;
};

using NormalizerStep = std::variant<PrependText, ReplaceText, StripSpaces, RemoveMarks, Lowercase, ByteLevelMap,
                                    NmtClean, BertCleaning, Precompiled, SentencePieceStep, UnicodeForm>;

struct Normalizer {
  std::vector<NormalizerStep> steps;

  // `ranges` of the text become those of the result. A step other than Prepend and Replace that changes the text makes
  // one range of all.
  std::string apply(std::string_view text, ByteRanges* ranges = nullptr) const;
};

// Reads the section `normalizer` of a tokenizer.json; null means no step.
Normalizer read_normalizer(const FileJson& section);

}  // namespace arc
