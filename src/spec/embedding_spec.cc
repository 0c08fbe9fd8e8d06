#include "spec/embedding_spec.h"

#include <algorithm>
#include <iterator>

#include "fmt/format.h"
#include "fmt/ranges.h"

#include "base/error.h"

namespace arc {
namespace {

// In the order of Pooling.
constexpr std::string_view kPoolings[] = {"cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"};
constexpr std::string_view kActs[] = {"identity", "tanh", "relu", "gelu", "silu", "sigmoid"};

}  // namespace

int32_t embedding_size(const EmbeddingSpec& spec, int32_t dim) {
  int32_t size = dim * static_cast<int32_t>(spec.pooling.modes.size());
  for (const EmbeddingModule& module : spec.modules) {
    if (const auto* dense = std::get_if<DenseSpec>(&module)) size = dense->out;
  }
  return size;
}

std::string to_string(const EmbeddingSpec& spec, int32_t dim) {
  std::vector<std::string_view> modes;
  for (const Pooling mode : spec.pooling.modes) modes.push_back(kPoolings[static_cast<int>(mode)]);
  std::string text =
      fmt::format("{} pooling{}", fmt::join(modes, " | "), spec.pooling.include_prompt ? "" : " without the prompt");
  for (const EmbeddingModule& module : spec.modules) {
    const auto* dense = std::get_if<DenseSpec>(&module);
    text += dense == nullptr
                ? ", length 1"
                : fmt::format(", dense {}x{} {}", dense->out, dense->in, kActs[static_cast<int>(dense->act)]);
  }
  return fmt::format("{}: {} numbers ({})", text, embedding_size(spec, dim), spec.origin);
}

Pooling pooling_from(const std::string& name) {
  const auto found = std::ranges::find(kPoolings, name == "last" ? "lasttoken" : std::string_view(name));
  if (found != std::end(kPoolings)) return static_cast<Pooling>(found - std::begin(kPoolings));
  throw Error(ErrorCode::invalid_argument,
              fmt::format("pooling \"{}\" is not one of {}", name, fmt::join(kPoolings, ", ")));
}

}  // namespace arc
