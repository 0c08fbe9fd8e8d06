// Post-processors: the special tokens around an encoded text. For single texts every kind of tokenizer.json comes down
// to tokens before and tokens after.
#pragma once

#include <cstdint>
#include <vector>

#include "text/json_fields.h"

namespace arc {

struct PostProcessor {
  std::vector<int32_t> before, after;
};

// Reads the section `post_processor` of a tokenizer.json; null means no step.
PostProcessor read_post_processor(const FileJson& section);

}  // namespace arc
