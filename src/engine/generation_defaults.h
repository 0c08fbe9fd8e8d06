// How a model wants to be sampled, as its generation_config.json says.
#pragma once

#include <string>

#include "arc/sampling.h"

namespace arc {

// `text` is the file's content, or empty. Null counts as absent. Throws Error(corrupt_data) that names the key.
SamplingDefaults generation_defaults(const std::string& text);

}  // namespace arc
