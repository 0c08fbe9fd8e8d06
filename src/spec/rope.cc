#include "spec/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string>

#include "fmt/format.h"

#include "base/error.h"

namespace arc {
namespace {

// The object that holds the scaling, whichever dialect the config speaks; empty when there is none.
Config scaling_object(const Config& c, std::string_view layer_type) {
  if (!c.has("rope_parameters")) return c.object_or_empty("rope_scaling");
  c.ignore({"rope_scaling"});
  const Config parameters = c.object_or_empty("rope_parameters");
  if (layer_type.empty() || !parameters.is_object(layer_type)) return parameters;
  parameters.ignore({"full_attention", "sliding_attention"});
  return parameters.object_or_empty(layer_type);
}

void read_llama3(const Config& scaling, RopeSpec& rope) {
  rope.scaling = RopeSpec::Scaling::llama3;
  rope.factor = scaling.f("factor");
  rope.low_freq_factor = scaling.f("low_freq_factor");
  rope.high_freq_factor = scaling.f("high_freq_factor");
  rope.original_positions = scaling.f("original_max_position_embeddings");
}

void read_yarn(const Config& config, const Config& scaling, RopeSpec& rope) {
  rope.scaling = RopeSpec::Scaling::yarn;
  rope.original_positions = scaling.f_or("original_max_position_embeddings", config.f_or("max_position_embeddings", 0));
  rope.factor =
      scaling.has("factor") ? scaling.f("factor") : config.f("max_position_embeddings") / rope.original_positions;
  rope.beta_fast = scaling.f_or("beta_fast", 32.0);
  rope.beta_slow = scaling.f_or("beta_slow", 1.0);
  rope.truncate = scaling.b_or("truncate", true);
  const double mscale = scaling.f_or("mscale", 0.0);
  const double mscale_all = rope.mscale_all_dim = scaling.f_or("mscale_all_dim", 0.0);
  const double ratio = mscale != 0.0 && mscale_all != 0.0
                           ? yarn_mscale(rope.factor, mscale) / yarn_mscale(rope.factor, mscale_all)
                           : yarn_mscale(rope.factor, 1.0);
  rope.attention_factor = scaling.f_or("attention_factor", ratio);
}

std::vector<double> divisors_from(const Config& scaling, std::string_view key, int dims) {
  std::vector<double> divisors = scaling.numbers_or_empty(key);
  const bool usable = std::ranges::all_of(divisors, [](double d) { return d > 0 && std::isfinite(d); });
  if (!usable || divisors.size() != static_cast<size_t>(dims / 2)) {
    throw Error(ErrorCode::corrupt_data,
                fmt::format("{} rope divisors for {} coordinates, or not all are positive", divisors.size(), dims));
  }
  return divisors;
}

// LongRoPE (arXiv 2402.13753): measured divisors, others for sequences that are longer than the original context, and
// one factor for all lengths, or Phi-3.5-MoE's two.
void read_longrope(const Config& config, const Config& scaling, RopeSpec& rope) {
  const double positions = config.f_or("max_position_embeddings", 0);
  rope.scaling = RopeSpec::Scaling::longrope;
  rope.original_positions =
      config.f_or("original_max_position_embeddings", scaling.f_or("original_max_position_embeddings", positions));
  rope.divisors = divisors_from(scaling, "short_factor", rope.dims);
  rope.long_divisors = divisors_from(scaling, "long_factor", rope.dims);
  const double factor = scaling.f_or("factor", positions / std::max(rope.original_positions, 1.0));
  const double stretch = factor <= 1.0 ? 1.0 : std::sqrt(1 + std::log(factor) / std::log(rope.original_positions));
  const double attention_factor = scaling.f_or("attention_factor", stretch);
  rope.attention_factor = scaling.f_or("short_mscale", attention_factor);
  rope.long_attention_factor = scaling.f_or("long_mscale", attention_factor);
}

// Llama 3.1: wavelengths longer than original / low_freq_factor are stretched by `factor`, shorter than
// original / high_freq_factor kept, those between interpolated (Llama 3.1 reference implementation).
double llama3_frequency(const RopeSpec& rope, double frequency) {
  const double rotations = rope.original_positions * frequency / (2 * std::numbers::pi);
  const double ramp = (rotations - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor);
  const double keep = std::clamp(ramp, 0.0, 1.0);
  return (1 - keep) * frequency / rope.factor + keep * frequency;
}

// YaRN's "NTK by parts" (arXiv 2309.00071, section 3.2): dims that turn more than beta_fast times within the original
// context keep their frequency, those under beta_slow are stretched, a linear ramp lies between.
std::vector<double> yarn_frequencies(const RopeSpec& rope, std::vector<double> frequencies) {
  const auto correction_dim = [&](double rotations) {
    return rope.dims * std::log(rope.original_positions / (rotations * 2 * std::numbers::pi)) /
           (2 * std::log(rope.theta));
  };
  double low = correction_dim(rope.beta_fast);
  double high = correction_dim(rope.beta_slow);
  if (rope.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, rope.dims - 1.0);
  if (low == high) high += 0.001;
  for (size_t i = 0; i < frequencies.size(); ++i) {
    const double stretched = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    frequencies[i] *= stretched / rope.factor + (1 - stretched);
  }
  return frequencies;
}

}  // namespace

double yarn_mscale(double factor, double mscale) {
  return factor <= 1.0 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0;
}

RopeSpec rope_from(const Config& config, int head_dim, std::string_view layer_type, double default_theta,
                   double default_partial) {
  const Config scaling = scaling_object(config, layer_type);
  const double partial = scaling.f_or("partial_rotary_factor", config.f_or("partial_rotary_factor", default_partial));
  RopeSpec rope{.dims = static_cast<int>(head_dim * partial),
                .theta = scaling.f_or("rope_theta", config.f_or("rope_theta", default_theta)),
                .interleaved = config.b_or("rope_interleave", false)};
  scaling.ignore({"type"});
  const std::string type = scaling.s_or("rope_type", scaling.s_or("type", "default"));
  if (type == "linear") {
    rope.scaling = RopeSpec::Scaling::linear;
    rope.factor = scaling.f("factor");
  } else if (type == "llama3") {
    read_llama3(scaling, rope);
  } else if (type == "yarn") {
    read_yarn(config, scaling, rope);
  } else if (type == "divisors") {
    rope.divisors = divisors_from(scaling, "divisors", rope.dims);
  } else if (type == "longrope" || type == "su") {
    read_longrope(config, scaling, rope);
  } else if (type != "default") {
    throw Error(ErrorCode::unsupported, fmt::format("rope type \"{}\" is not supported", type));
  }
  if (scaling.has("llama_4_scaling_beta")) {
    rope.query_beta = scaling.f("llama_4_scaling_beta");
    rope.original_positions = scaling.f("original_max_position_embeddings");
    scaling.ignore({"max_position_embeddings"});  // of the pattern; the model's own stands outside
  }
  return rope;
}

std::vector<double> rope_frequencies(const RopeSpec& rope) {
  const auto half = static_cast<size_t>(rope.dims / 2);
  std::vector<double> divisors = rope.divisors;
  divisors.insert(divisors.end(), rope.long_divisors.begin(), rope.long_divisors.end());
  std::vector<double> frequencies(divisors.empty() ? half : divisors.size());
  for (size_t i = 0; i < frequencies.size(); ++i) {
    frequencies[i] = std::pow(rope.theta, -2.0 * static_cast<double>(i % half) / rope.dims);
    if (!divisors.empty()) frequencies[i] /= divisors[i];
  }
  switch (rope.scaling) {
    case RopeSpec::Scaling::none:
    case RopeSpec::Scaling::longrope:
      break;
    case RopeSpec::Scaling::linear:
      for (double& f : frequencies) f /= rope.factor;
      break;
    case RopeSpec::Scaling::llama3:
      for (double& f : frequencies) f = llama3_frequency(rope, f);
      break;
    case RopeSpec::Scaling::yarn:
      return yarn_frequencies(rope, std::move(frequencies));
  }
  return frequencies;
}

}  // namespace arc
