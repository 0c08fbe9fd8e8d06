// The normalizer Precompiled: SentencePiece's rules as the `tokenizers` library runs them.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "text/chars_map.h"
#include "text/json_fields.h"

namespace arc {

struct Precompiled {
  CharsMap rules;

  // A grapheme cluster of under six bytes is replaced whole, by what the shortest text that it begins with has for it;
  // of other clusters each character is. Calls fail_growth() when the result would be longer than `max_bytes`.
  std::string apply(std::string_view text, size_t max_bytes) const;
};

// The field `precompiled_charsmap`, in base64.
Precompiled read_precompiled(const JsonFields& fields);

}  // namespace arc
