// Finds stop strings in text that arrives in pieces, and holds back what may be the start of one.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace arc {

// The match that is complete first wins; of several that are complete at the same byte, the longest. The result does
// not depend on how the text was cut into pieces.
class StopStrings {
 public:
  explicit StopStrings(const std::vector<std::string>& stops);  // none of them empty

  struct Piece {
    std::string text;                 // safe to show: no stop string starts in it, whole UTF-8 characters only
    std::optional<std::string> stop;  // the stop string that ended the text; its bytes and later ones are dropped
  };

  // Takes more text. With `may_stop` false a match that completes in `text` does not count. Not after a stop.
  Piece push(std::string_view text, bool may_stop = true);

  // The text held back, when generation ended for another reason.
  std::string finish();

 private:
  // Knuth-Morris-Pratt over one stop string.
  struct Matcher {
    std::string text;
    std::vector<size_t> fallback;  // [i]: the longest proper border of the first i bytes
    size_t matched = 0;            // the longest proper prefix of `text` that ends at the last byte seen
    bool advance(char c);          // true when `c` completes `text`
  };

  std::vector<Matcher> matchers_;
  std::string held_;
};

}  // namespace arc
