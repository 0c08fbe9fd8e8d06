// Rotary embeddings: reading both dialects of config, and the frequencies that each scaling gives.
#pragma once

#include <string_view>
#include <vector>

#include "spec/config.h"
#include "spec/model_spec.h"

namespace arc {

// The rotation of heads of `head_dim` coordinates. Reads `rope_parameters` (flat, or one object per layer type), else
// `rope_scaling` and `rope_theta`; `partial_rotary_factor` inside the object wins over the top-level one.
// `layer_type` picks the object where there is one per type ("full_attention", "sliding_attention").
RopeSpec rope_from(const Config& config, int head_dim, std::string_view layer_type = "", double default_theta = 10000.0,
                   double default_partial = 1.0);

// YaRN's temperature 0.1 * mscale * ln(factor) + 1 (arXiv 2309.00071, section 3.4); 1 when factor <= 1.
double yarn_mscale(double factor, double mscale);

// Frequencies in radians per position, [dims / 2]; with longrope those of short sequences, then those of long ones.
std::vector<double> rope_frequencies(const RopeSpec& rope);

}  // namespace arc
