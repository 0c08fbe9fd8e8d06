#include "quant/codebook.h"

#include <algorithm>
#include <array>
#include <cstddef>

namespace arc {
namespace {

struct Row {
  int32_t dim = 0, bits = 0;
  Grid grid = Grid::exact;
  float step = 1.0f;
  float numbers[1 << (kMaxCodebookBits - 1)] = {};
};

constexpr Row kRows[] = {
#include "quant/codebooks.inc"
};

}  // namespace

float Codebook::level(int code) const {
  const int half = static_cast<int>(numbers.size());
  return code < half ? -numbers[half - 1 - code] * step : numbers[code - half] * step;
}

int Codebook::code(float coordinate) const {
  int code = 0;
  for (const int last = 2 * static_cast<int>(numbers.size()) - 1; code < last; ++code) {
    if (coordinate < (level(code) + level(code + 1)) / 2) break;
  }
  return code;
}

const Codebook* find_codebook(int dim, int bits, Grid grid) {
  static const auto books = [] {
    std::array<Codebook, std::size(kRows)> made;
    std::ranges::transform(kRows, made.begin(), [](const Row& row) {
      return Codebook{row.dim, row.bits, row.grid, row.step, {row.numbers, size_t{1} << (row.bits - 1)}};
    });
    return made;
  }();
  const auto found =
      std::ranges::find_if(books, [&](const Codebook& b) { return b.dim == dim && b.bits == bits && b.grid == grid; });
  return found == books.end() ? nullptr : &*found;
}

}  // namespace arc
