#include "sched/step_pacer.h"

#include <algorithm>

namespace arc {
namespace {

double learned(double before, double seconds) {
  constexpr double kFall = 0.1;
  return seconds > before ? seconds : before + kFall * (seconds - before);
}

}  // namespace

int32_t StepPacer::prompt_tokens() const {
  if (token_seconds_ == 0) return options_.most_tokens;
  const double room = std::max(options_.goal_seconds - decode_seconds_, decode_seconds_);
  const double tiles = room / token_seconds_ / options_.least_tokens;
  const auto most = static_cast<double>(options_.most_tokens / options_.least_tokens);
  const auto n_tiles = static_cast<int32_t>(std::clamp(tiles, 1.0, std::max(most, 1.0)));
  return std::min(n_tiles * options_.least_tokens, options_.most_tokens);
}

void StepPacer::took(int32_t n_prompt_tokens, int32_t n_decoding, double seconds) {
  if (n_prompt_tokens == 0) {
    decode_seconds_ = learned(decode_seconds_, seconds);
  } else if (n_prompt_tokens >= options_.least_tokens) {  // a few tokens tell little of what many would take
    const double rest = std::max(seconds - (n_decoding > 0 ? decode_seconds_ : 0), 0.0);
    token_seconds_ = learned(token_seconds_, rest / n_prompt_tokens);
  }
}

}  // namespace arc
