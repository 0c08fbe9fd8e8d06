// The pinned codebooks against the solver, the solver against closed forms and published figures. With
// ARC_WRITE_TABLES=1 codebooks.inc is written anew.
#include "quant/codebook.h"

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <numbers>
#include <sstream>
#include <string>

#include "fmt/format.h"
#include "gtest/gtest.h"

#include "quant/codebook_solver.h"

namespace arc {
namespace {

constexpr double kGridCost = 1.002;  // what a grid may add to the distortion

std::string numbers_text(const std::vector<float>& numbers) {
  std::string text;
  for (float n : numbers)
    text += fmt::format("{}{:.9g}{}f", text.empty() ? "" : ", ", n, n == std::floor(n) ? ".0" : "");
  return text;
}

std::string row_text(int dim, int bits, const char* grid, double step, const std::vector<float>& numbers) {
  return fmt::format("{{{}, {}, Grid::{}, {}, {{{}}}}},\n", dim, bits, grid, numbers_text({static_cast<float>(step)}),
                     numbers_text(numbers));
}

std::string grid_text(const CoordinateLaw& law, const Levels& levels, int bits, bool odd_halves) {
  const GridLevels grid = fit_grid(law, levels, odd_halves);
  std::vector<float> numbers;
  for (int n : grid.twice) numbers.push_back(static_cast<float>(n) / 2);
  return row_text(law.dim(), bits, odd_halves ? "odd_halves" : "whole", grid.step, numbers);
}

// What codebooks.inc must hold.
std::string solve_all() {
  std::string text = "// Made by codebook_test.cc (ARC_WRITE_TABLES=1): dim, bits, grid, step, positive numbers.\n";
  text += "// clang-format off\n";
  for (int dim : kCodebookDims) {
    const CoordinateLaw law(dim);
    for (int bits = 1; bits <= kMaxCodebookBits; ++bits) {
      const Levels levels = solve_lloyd_max(law, bits);
      text += row_text(dim, bits, "exact", 1.0, {levels.begin(), levels.end()});
      if (bits > kMaxGridBits) continue;
      text += grid_text(law, levels, bits, false);
      text += grid_text(law, levels, bits, true);
    }
  }
  return text + "// clang-format on\n";
}

Levels levels_of(const Codebook& book) {
  Levels levels;
  for (float n : book.numbers) levels.push_back(static_cast<double>(n) * book.step);
  return levels;
}

TEST(Codebook, TableIsWhatTheSolverFinds) {
  const std::string path = std::string(ARC_SOURCE_DIR) + "/src/quant/codebooks.inc", solved = solve_all();
  if (std::getenv("ARC_WRITE_TABLES") != nullptr) {
    std::ofstream(path) << solved;
    GTEST_SKIP() << "written: " << path;
  }
  std::ostringstream pinned;
  pinned << std::ifstream(path).rdbuf();
  EXPECT_EQ(pinned.str(), solved);
}

TEST(Codebook, LawIsADistribution) {
  for (int dim : kCodebookDims) {
    const CoordinateLaw law(dim);
    EXPECT_NEAR(law.mass(0, 1), 1.0, 1e-13) << dim;
    // E|t| = Gamma(d/2) / (sqrt(pi) Gamma((d+1)/2)), the one level of one bit.
    const double mean = std::exp(std::lgamma(dim / 2.0) - std::lgamma((dim + 1) / 2.0)) / std::sqrt(std::numbers::pi);
    EXPECT_NEAR(law.moment(0, 1), mean, 1e-14) << dim;
    EXPECT_NEAR(solve_lloyd_max(law, 1)[0], mean, 1e-13) << dim;
    EXPECT_NEAR(distortion(law, {mean}), 1 - dim * mean * mean, 1e-12) << dim;
  }
}

TEST(Codebook, LevelsAreMeansOfTheirCells) {
  for (int dim : kCodebookDims) {
    const CoordinateLaw law(dim);
    for (int bits = 1; bits <= kMaxCodebookBits; ++bits) {
      const Levels levels = levels_of(*find_codebook(dim, bits, Grid::exact));
      double low = 0.0;
      for (size_t i = 0; i < levels.size(); ++i) {
        const double high = i + 1 < levels.size() ? (levels[i] + levels[i + 1]) / 2 : 1.0;
        EXPECT_NEAR(law.moment(low, high) / law.mass(low, high), levels[i], 1e-7) << dim << " " << bits << " " << i;
        low = high;
      }
    }
  }
}

// Exact Lloyd-Max at d = 128: distortion and outermost level for 1 to 4 bits.
TEST(Codebook, PublishedFiguresAt128) {
  const double distortions[] = {0.361, 0.116, 0.0340, 0.00931}, outermost[] = {0.07066, 0.13304, 0.18839, 0.23762};
  const CoordinateLaw law(128);
  for (int bits = 1; bits <= 4; ++bits) {
    const Codebook& book = *find_codebook(128, bits, Grid::exact);
    EXPECT_NEAR(distortion(law, levels_of(book)) / distortions[bits - 1], 1.0, 0.01) << bits;
    EXPECT_NEAR(book.numbers.back(), outermost[bits - 1], 1.5e-4) << bits;
  }
}

TEST(Codebook, BetweenShannonAndThePaperAndGridsCostLittle) {
  for (int dim : kCodebookDims) {
    const CoordinateLaw law(dim);
    for (int bits = 1; bits <= kMaxCodebookBits; ++bits) {
      const double exact = distortion(law, levels_of(*find_codebook(dim, bits, Grid::exact)));
      EXPECT_GT(exact, std::pow(4.0, -bits)) << dim << " " << bits;
      EXPECT_LT(exact, std::numbers::sqrt3 * std::numbers::pi / 2 * std::pow(4.0, -bits)) << dim << " " << bits;
      for (Grid grid : {Grid::whole, Grid::odd_halves}) {
        const Codebook* book = find_codebook(dim, bits, grid);
        ASSERT_EQ(book != nullptr, bits <= kMaxGridBits);
        if (book == nullptr) continue;
        EXPECT_LT(distortion(law, levels_of(*book)), exact * kGridCost) << dim << " " << bits;
        for (float n : book->numbers) {
          EXPECT_EQ(std::floor(n) + (grid == Grid::whole ? 0.0f : 0.5f), n);
          EXPECT_LE(n, 127.5f);
        }
      }
    }
  }
}

// docs/turboquant.md has the distortion of each head size beside both bounds.
TEST(Codebook, TheDocumentHasTheDistortions) {
  const auto row = [](const std::string& head, const auto& of) {
    std::string text = "| " + head + " |";
    for (int bits = 1; bits <= 4; ++bits) text += fmt::format(" {:.3g} |", of(bits));
    return text + "\n";
  };
  std::string table;
  for (int dim : kCodebookDims) {
    const CoordinateLaw law(dim);
    table += row(std::to_string(dim),
                 [&](int bits) { return distortion(law, levels_of(*find_codebook(dim, bits, Grid::exact))); });
  }
  table += row("Shannon's bound", [](int bits) { return std::pow(4.0, -bits); });
  table += row("the paper's bound",
               [](int bits) { return std::numbers::sqrt3 * std::numbers::pi / 2 * std::pow(4.0, -bits); });
  std::ostringstream document;
  document << std::ifstream(std::string(ARC_SOURCE_DIR) + "/docs/turboquant.md").rdbuf();
  EXPECT_NE(document.str().find(table), std::string::npos) << "docs/turboquant.md should have\n" << table;
}

TEST(Codebook, CodeIsTheNearestLevel) {
  for (int bits = 1; bits <= 4; ++bits) {
    const Codebook& book = *find_codebook(128, bits, Grid::odd_halves);
    for (int i = -4000; i <= 4000; ++i) {
      const float x = static_cast<float>(i) / 8000;
      int nearest = 0;
      for (int c = 1; c < 1 << bits; ++c) {
        if (std::abs(x - book.level(c)) < std::abs(x - book.level(nearest))) nearest = c;
      }
      EXPECT_NEAR(std::abs(x - book.level(book.code(x))), std::abs(x - book.level(nearest)), 1e-7) << bits << " " << x;
    }
  }
}

}  // namespace
}  // namespace arc
