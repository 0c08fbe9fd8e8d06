#include "engine/generation_defaults.h"

#include <cmath>

#include "fmt/format.h"
#include "nlohmann/json.hpp"

#include "base/error.h"
#include "base/json.h"

namespace arc {
namespace {

template <typename T>
void read(const Json& config, const char* key, std::optional<T>& value) {
  const auto it = config.find(key);
  if (it == config.end() || it->is_null()) return;
  const bool fits = std::is_integral_v<T> ? it->is_number_integer() : it->is_number();
  const double number = fits ? it->get<double>() : NAN;
  if (!(std::abs(number) <= 1e9)) {
    throw Error(ErrorCode::corrupt_data, fmt::format("generation_config.json: `{}` is {}", key, it->dump()));
  }
  value = static_cast<T>(number);
}

}  // namespace

SamplingDefaults generation_defaults(const std::string& text) {
  SamplingDefaults defaults;
  if (text.empty()) return defaults;
  const Json config = parse_json(text, "generation_config.json");
  read(config, "temperature", defaults.temperature);
  read(config, "top_k", defaults.top_k);
  read(config, "top_p", defaults.top_p);
  read(config, "min_p", defaults.min_p);
  read(config, "repetition_penalty", defaults.repetition_penalty);
  return defaults;
}

}  // namespace arc
