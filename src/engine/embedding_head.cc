#include "engine/embedding_head.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "fmt/format.h"

#include "base/error.h"
#include "io/safetensors.h"

namespace arc {
namespace {

bool has(const PoolingSpec& spec, Pooling mode) {
  return std::ranges::find(spec.modes, mode) != spec.modes.end();
}

double dot(const float* a, const std::vector<double>& b) {
  double sums[8] = {};
  size_t i = 0;
  for (; i + 8 <= b.size(); i += 8) {
    for (size_t j = 0; j < 8; ++j) sums[j] += a[i + j] * b[i + j];
  }
  for (; i < b.size(); ++i) sums[0] += a[i] * b[i];
  return ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

double activated(DenseSpec::Act act, double x) {
  switch (act) {
    case DenseSpec::Act::identity:
      return x;
    case DenseSpec::Act::tanh:
      return std::tanh(x);
    case DenseSpec::Act::relu:
      return std::max(x, 0.0);
    case DenseSpec::Act::gelu:
      return 0.5 * x * (1.0 + std::erf(x / std::sqrt(2.0)));
    case DenseSpec::Act::silu:
      return x / (1.0 + std::exp(-x));
    case DenseSpec::Act::sigmoid:
      return 1.0 / (1.0 + std::exp(-x));
  }
  return x;
}

void normalize(std::vector<double>& x) {
  double squares = 0.0;
  for (const double v : x) squares += v * v;
  const double length = std::max(std::sqrt(squares), 1e-12);
  for (double& v : x) v /= length;
}

std::vector<float> floats(const Checkpoint& file, const std::string& path, const std::string& name,
                          const Shape& shape) {
  const TensorEntry* entry = file.find(name);
  if (entry == nullptr) throw Error(ErrorCode::not_found, fmt::format("{} lacks the tensor {}", path, name));
  if (entry->shape != shape || !is_floating(entry->dtype) || dtype_size(entry->dtype) < 2) {
    throw Error(ErrorCode::corrupt_data,
                fmt::format("{}: {} has another shape or type than its config says", path, name));
  }
  std::vector<float> values(static_cast<size_t>(shape.numel()));
  to_float(entry->dtype, file.load(name).data(), values.data(), values.size());
  return values;
}

}  // namespace

Pooler::Pooler(const PoolingSpec& spec, int32_t dim, int32_t first) : spec_(&spec), first_(first) {
  const auto room = [&](std::vector<double>& vector, std::initializer_list<Pooling> modes, double value) {
    const bool wanted = std::ranges::any_of(modes, [&](Pooling mode) { return has(spec, mode); });
    if (wanted) vector.assign(static_cast<size_t>(dim), value);
  };
  room(sum_, {Pooling::mean, Pooling::mean_sqrt_len}, 0.0);
  room(weighted_, {Pooling::weighted_mean}, 0.0);
  room(largest_, {Pooling::max}, -std::numeric_limits<double>::infinity());
  room(cls_, {Pooling::cls}, 0.0);
  room(last_, {Pooling::last}, 0.0);
}

void Pooler::add(int32_t position, std::span<const float> state) {
  if (position < first_) return;
  const double weight = position + 1;
  for (size_t i = 0; i < sum_.size(); ++i) sum_[i] += state[i];
  for (size_t i = 0; i < weighted_.size(); ++i) weighted_[i] += weight * state[i];
  for (size_t i = 0; i < largest_.size(); ++i) largest_[i] = std::max(largest_[i], static_cast<double>(state[i]));
  if (position == first_ && !cls_.empty()) cls_.assign(state.begin(), state.end());
  if (!last_.empty()) last_.assign(state.begin(), state.end());
  ++n_tokens_;
  weights_ += weight;
}

std::vector<double> Pooler::result() const {
  std::vector<double> out;
  const auto append = [&](const std::vector<double>& vector, double divisor) {
    for (const double v : vector) out.push_back(v / divisor);
  };
  for (const Pooling mode : spec_->modes) {
    switch (mode) {
      case Pooling::cls:
        append(cls_, 1.0);
        break;
      case Pooling::max:
        append(largest_, 1.0);
        break;
      case Pooling::mean:
        append(sum_, n_tokens_);
        break;
      case Pooling::mean_sqrt_len:
        append(sum_, std::sqrt(static_cast<double>(n_tokens_)));
        break;
      case Pooling::weighted_mean:
        append(weighted_, weights_);
        break;
      case Pooling::last:
        append(last_, 1.0);
        break;
    }
  }
  return out;
}

EmbeddingHead::EmbeddingHead(EmbeddingSpec spec, int32_t dim, double scale, const std::filesystem::path& folder)
    : spec_(std::move(spec)), dim_(dim), scale_(scale) {
  for (const EmbeddingModule& module : spec_.modules) {
    const auto* dense = std::get_if<DenseSpec>(&module);
    if (dense == nullptr) continue;
    const std::string path = dense->folder + "/model.safetensors";
    const Checkpoint file = open_safetensors(folder / path);
    Matrix& matrix = matrices_.emplace_back();
    matrix.weight = floats(file, path, "linear.weight", Shape({dense->out, dense->in}));
    if (dense->bias) matrix.bias = floats(file, path, "linear.bias", Shape({dense->out}));
  }
}

std::vector<float> EmbeddingHead::finish(std::vector<double> x, int32_t dimensions) const {
  for (double& v : x) v *= scale_;
  size_t n_dense = 0;
  for (const EmbeddingModule& module : spec_.modules) {
    const auto* dense = std::get_if<DenseSpec>(&module);
    if (dense == nullptr) {
      normalize(x);
      continue;
    }
    const Matrix& matrix = matrices_[n_dense++];
    std::vector<double> y(static_cast<size_t>(dense->out));
    for (size_t r = 0; r < y.size(); ++r) {
      const double sum = dot(matrix.weight.data() + r * x.size(), x) + (dense->bias ? matrix.bias[r] : 0.0);
      y[r] = activated(dense->act, sum);
    }
    x = std::move(y);
  }
  if (dimensions > 0 && static_cast<size_t>(dimensions) < x.size()) {
    x.resize(static_cast<size_t>(dimensions));
    normalize(x);
  }
  return {x.begin(), x.end()};
}

}  // namespace arc
