// The needle's grid, and its picture.
#include <algorithm>
#include <set>

#include "fmt/format.h"

#include "arc/eval.h"

namespace arc {
namespace {

// From dark red over yellow to green, as web colours are written.
std::string colour(double share) {
  const double s = std::clamp(share, 0.0, 1.0);
  const auto mix = [](double from, double to, double part) {
    return static_cast<int>(from + (to - from) * part + 0.5);
  };
  const double part = s < 0.5 ? 2 * s : 2 * s - 1;
  return s < 0.5 ? fmt::format("#{:02x}{:02x}{:02x}", mix(165, 253, part), mix(30, 219, part), mix(38, 120, part))
                 : fmt::format("#{:02x}{:02x}{:02x}", mix(253, 30, part), mix(219, 140, part), mix(120, 70, part));
}

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '<') {
      out += "&lt;";
    } else if (c == '&') {
      out += "&amp;";
    } else {
      out += c;
    }
  }
  return out;
}

template <typename T>
size_t place(const std::vector<T>& sorted, T value) {
  return static_cast<size_t>(std::ranges::lower_bound(sorted, value) - sorted.begin());
}

}  // namespace

NeedleGrid needle_grid(const std::vector<EvalTask>& tasks, const std::vector<TaskAnswer>& answers) {
  std::set<int32_t> lengths;
  std::set<double> depths;
  for (const EvalTask& task : tasks) {
    lengths.insert(task.tokens);
    depths.insert(task.depth);
  }
  NeedleGrid grid{.lengths = {lengths.begin(), lengths.end()}, .depths = {depths.begin(), depths.end()}};
  grid.cells.resize(grid.lengths.size() * grid.depths.size());
  for (size_t i = 0; i < tasks.size(); ++i) {
    const size_t row = place(grid.lengths, tasks[i].tokens), column = place(grid.depths, tasks[i].depth);
    Accuracy& cell = grid.cells[row * grid.depths.size() + column];
    ++cell.n;
    cell.right += answers[i].right ? 1 : 0;
  }
  return grid;
}

std::string needle_svg(const NeedleGrid& grid, const std::string& title) {
  constexpr int kCell = 48, kHeight = 32, kLeft = 72, kTop = 64, kMargin = 16;
  const int width = kLeft + kCell * static_cast<int>(grid.depths.size()) + kMargin;
  const int height = kTop + kHeight * static_cast<int>(grid.lengths.size()) + kMargin;
  std::string out = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" viewBox=\"0 0 {0} {1}\" "
      "font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
      "<text x=\"{2}\" y=\"20\" font-size=\"14\">{3}</text>\n"
      "<text x=\"{2}\" y=\"38\" fill=\"#555\">columns: depth in the context; rows: its length in tokens</text>\n",
      width, height, kMargin, escaped(title));
  const auto text = [&](int x, int y, const char* anchor, const std::string& what) {
    out += fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"{}\">{}</text>\n", x, y, anchor, what);
  };
  for (size_t c = 0; c < grid.depths.size(); ++c) {
    text(kLeft + kCell * static_cast<int>(c) + kCell / 2, kTop - 8, "middle",
         fmt::format("{:.0f}%", 100 * grid.depths[c]));
  }
  for (size_t r = 0; r < grid.lengths.size(); ++r) {
    const int y = kTop + kHeight * static_cast<int>(r);
    text(kLeft - 8, y + 20, "end", fmt::format("{}", grid.lengths[r]));
    for (size_t c = 0; c < grid.depths.size(); ++c) {
      const Accuracy& cell = grid.cells[r * grid.depths.size() + c];
      if (cell.n == 0) continue;
      const int x = kLeft + kCell * static_cast<int>(c);
      out += fmt::format("<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"{}\"/>\n", x, y, kCell - 1,
                         kHeight - 1, colour(cell.share()));
      text(x + kCell / 2, y + 20, "middle", fmt::format("{:.0f}", 100 * cell.share()));
    }
  }
  return out + "</svg>\n";
}

}  // namespace arc
