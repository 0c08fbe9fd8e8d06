// Finds the tables of the trellis code (trellis.h). Runs in tests and when trellis.inc is written anew; the product
// reads the pinned tables.
#pragma once

#include <cstdint>
#include <vector>

#include "quant/trellis.h"

namespace arc {

// Standard Gaussian numbers, the same for equal keys.
std::vector<float> gaussian_numbers(uint64_t key, int64_t n);

// Coordinates in parts of a number of `code`; `scale`: what makes them standard.
void to_trellis_parts(const Trellis& code, const float* x, int dim, float scale, int16_t* parts);

// One round of Lloyd's iteration: vectors of `dim` standard Gaussian numbers are encoded, and every window's number
// becomes the mean of what it stood for, on the grid of int8.
Trellis improve_trellis(const Trellis& code, const std::vector<float>& x, int dim);

// Mean squared error of a coordinate of `x`, in vectors of `dim`.
double trellis_distortion(const Trellis& code, const std::vector<float>& x, int dim);

// From quantiles of the Gaussian, in an order that is random but gives each state branches over the whole range.
Trellis solve_trellis(int bits);

}  // namespace arc
