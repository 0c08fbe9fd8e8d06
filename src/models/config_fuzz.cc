// Any JSON as config.json of every architecture: an Error or a valid model, never a crash.
#include <cstddef>
#include <cstdint>

#include "nlohmann/json.hpp"

#include "base/error.h"
#include "base/json.h"
#include "models/arch.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  for (const arc::Arch* arch : arc::all_archs()) {
    try {
      const arc::Config config(arc::parse_json(text, "config.json"));
      const arc::ModelSpec spec = arch->build(config);
      arc::validate(spec);
      config.expect_known();
    } catch (const arc::Error&) {
      continue;  // expected of most inputs
    }
  }
  return 0;
}
