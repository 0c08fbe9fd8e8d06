// The pinned codebooks of TurboQuant (codebooks.inc, made and checked by codebook_test.cc).
#pragma once

#include <cstdint>
#include <span>

namespace arc {

// Whether levels are the Lloyd-Max solution itself, or lie on numbers that fit 8 bits, which costs under 0.2% of
// distortion and lets every device decode to the same numbers. Grids exist for 1 to 4 bits, the exact form up to 6.
enum class Grid : uint8_t { exact, whole, odd_halves };

// Levels of one rotated coordinate of a unit vector: +-number * step.
struct Codebook {
  int32_t dim = 0, bits = 0;
  Grid grid = Grid::exact;
  float step = 1.0f;
  std::span<const float> numbers;  // the positive half, ascending

  // Codes are ascending: 0 is the lowest level, 2^bits - 1 the highest.
  float level(int code) const;
  // The code of the nearest level; a tie goes to the higher one.
  int code(float coordinate) const;
};

inline constexpr int kCodebookDims[] = {64, 72, 80, 96, 112, 128, 192, 256, 512, 576};
inline constexpr int kMaxCodebookBits = 6, kMaxGridBits = 4;

// Null when there is none of this kind.
const Codebook* find_codebook(int dim, int bits, Grid grid);

}  // namespace arc
