#include "sample/stop_rules.h"

#include <algorithm>
#include <utility>

namespace arc {

StopCause StopRules::check(int32_t token, int32_t n_generated) const noexcept {
  const auto holds = [token](const std::vector<int32_t>& ids) { return std::ranges::find(ids, token) != ids.end(); };
  if (may_stop(n_generated)) {
    if (holds(stop_ids)) return StopCause::stop_id;
    if (!ignore_eos && holds(eos_ids)) return StopCause::eos;
  }
  return n_generated >= max_tokens ? StopCause::length : StopCause::none;
}

StopRules make_stop_rules(const SamplingParams& params, std::vector<int32_t> eos_ids, int32_t room) {
  return {.eos_ids = std::move(eos_ids),
          .stop_ids = params.stop_token_ids,
          .ignore_eos = params.ignore_eos,
          .min_tokens = params.min_tokens,
          .max_tokens = params.max_tokens < 0 ? room : std::min(params.max_tokens, room)};
}

}  // namespace arc
