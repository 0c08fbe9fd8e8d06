// tekken.json, Mistral's tokenizer: byte strings with ranks, their pattern, and special tokens before all others.
#pragma once

#include <string_view>

#include "text/tokenizer_parts.h"

namespace arc {

// A whole tekken.json. Encoding adds <s> in front. Throws Error(corrupt_data) that names the field, and as
// tokenizer_of_ranks.
TokenizerParts read_tekken(std::string_view text);

}  // namespace arc
