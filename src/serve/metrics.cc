#include "serve/metrics.h"

#include <iterator>
#include <string_view>

#include "fmt/format.h"

namespace arc::serve {

std::string metrics_text(const EngineStats& stats) {
  std::string out;
  const auto metric = [&out](std::string_view type, std::string_view name, std::string_view help, auto value) {
    fmt::format_to(std::back_inserter(out), "# HELP arc_{0} {1}\n# TYPE arc_{0} {2}\narc_{0} {3}\n", name, help, type,
                   value);
  };
  metric("counter", "requests_total", "Requests accepted.", stats.requests_total);
  metric("counter", "requests_finished_total", "Requests answered to the end.", stats.requests_finished);
  metric("counter", "requests_cancelled_total", "Requests cancelled.", stats.requests_cancelled);
  metric("counter", "requests_failed_total", "Requests ended by an error.", stats.requests_failed);
  metric("counter", "requests_refused_total", "Requests refused.", stats.requests_refused);
  metric("counter", "prompt_tokens_total", "Tokens of prompts.", stats.prompt_tokens_total);
  metric("counter", "cached_tokens_total", "Tokens of prompts found in the prefix cache.", stats.cached_tokens_total);
  metric("counter", "generated_tokens_total", "Tokens generated.", stats.generated_tokens_total);
  metric("counter", "preemptions_swap_total", "Sequences moved out of the cache.", stats.preemptions_swap);
  metric("counter", "preemptions_recompute_total", "Sequences dropped to be computed again.",
         stats.preemptions_recompute);
  metric("counter", "steps_total", "Steps of the engine.", stats.steps_total);
  metric("counter", "lease_steps_total", "Steps that ran on the GPU without the host.", stats.lease_steps_total);
  metric("counter", "execute_seconds_total", "Seconds in which the executor ran steps.", stats.execute_seconds);
  metric("counter", "host_seconds_total", "Seconds of the engine's thread before and after steps.", stats.host_seconds);
  metric("gauge", "requests_running", "Requests being computed.", stats.running);
  metric("gauge", "requests_waiting", "Requests in the queue.", stats.waiting);
  metric("gauge", "cache_usage_ratio", "Share of the cache's blocks in use.", stats.cache_usage);
  return out;
}

}  // namespace arc::serve
