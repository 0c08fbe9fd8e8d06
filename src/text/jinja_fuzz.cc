// Hostile templates: no crash, no hang, and limits that hold. Under small limits, so that a slow input is a bug.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "nlohmann/json.hpp"

#include "base/error.h"
#include "text/jinja.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace arc;
  static const Json variables = Json::parse(R"({
      "messages": [{"role": "system", "content": "Sé brief."},
                   {"role": "user", "content": [{"type": "text", "text": "a <b>"}, {"type": "image"}]},
                   {"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f", "arguments": {"x": 1.5}}}]},
                   {"role": "tool", "content": "ok\n\n"}],
      "tools": [{"type": "function", "function": {"name": "f", "parameters": {"items": [true, -3]}}}],
      "s": "Straße, ǆ  x", "n": 7, "f": 2.5, "xs": [3, 1, 2], "d": {"b": 1, "a": {"x": []}},
      "add_generation_prompt": true, "bos_token": "<s>"})");
  constexpr jinja::Limits kLimits{
      .max_template_bytes = 1 << 14, .max_steps = 100'000, .max_depth = 200, .max_output_bytes = 1 << 16};
  try {
    const jinja::Template parsed({reinterpret_cast<const char*>(data), size}, "fuzz", kLimits);
    parsed.render(variables);
  } catch (const Error&) {
  }
  return 0;
}
