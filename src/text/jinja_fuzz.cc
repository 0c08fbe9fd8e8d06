// Hostile templates: no crash, no hang, limits that hold, and no text of the request that counts as the template's.
// Under small limits, so that a slow input is a bug.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "nlohmann/json.hpp"

#include "base/check.h"
#include "base/error.h"
#include "text/jinja.h"

namespace {

constexpr std::string_view kMark = "\u2603";  // in texts of the request only

void check_origins(std::string_view source, const arc::jinja::Rendering& rendering) {
  size_t end = 0;
  for (const arc::ByteRange& range : rendering.from_request) {
    ARC_CHECK(range.begin < range.end && range.end <= rendering.text.size() && (range.begin > end || end == 0));
    end = range.end;
  }
  for (const char* number : {"2603", "9731", "226", "E2", "e2", "\u2603"}) {  // it could make the mark itself
    if (source.find(number) != std::string_view::npos) return;
  }
  for (size_t at = 0; (at = rendering.text.find(kMark, at)) != std::string::npos; at += kMark.size()) {
    const auto within = arc::ranges_within(rendering.from_request, at, at + kMark.size());
    ARC_CHECK(within == arc::ByteRanges({{0, kMark.size()}})) << rendering.text;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace arc;
  static const Json variables = Json::parse(R"({
      "messages": [{"role": "system", "content": "Sé ☃ brief."},
                   {"role": "user", "content": [{"type": "text", "text": "a <☃> ☃b"}, {"type": "image"}]},
                   {"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f", "arguments": {"x": 1.5}}}]},
                   {"role": "tool", "content": "☃ ok\n\n"}],
      "tools": [{"type": "function", "function": {"name": "f", "parameters": {"items": [true, -3]}}}],
      "s": "Straße☃, ǆ  x☃", "n": 7, "f": 2.5, "xs": [3, 1, 2], "d": {"b": 1, "☃": "☃", "a": {"x": []}},
      "add_generation_prompt": true, "bos_token": "<s>"})");
  constexpr jinja::Limits kLimits{
      .max_template_bytes = 1 << 14, .max_steps = 100'000, .max_depth = 200, .max_output_bytes = 1 << 16};
  try {
    const std::string_view source(reinterpret_cast<const char*>(data), size);
    check_origins(source, jinja::Template(source, "fuzz", kLimits).render(variables));
  } catch (const Error&) {
  }
  return 0;
}
