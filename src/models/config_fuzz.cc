// Any JSON as config.json of every architecture: an Error or a valid model, never a crash.
#include <cstddef>
#include <cstdint>

#include "nlohmann/json.hpp"

#include "base/error.h"
#include "base/json.h"
#include "models/arch.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  arc::Json json;
  try {
    json = arc::parse_json({reinterpret_cast<const char*>(data), size}, "config.json");
  } catch (const arc::Error&) {
    return 0;
  }
  for (const arc::Arch* arch : arc::all_archs()) {
    try {
      const arc::Config config(json);
      const arc::ModelSpec spec = arch->build(config);
      arc::validate(spec);
      config.expect_known();
    } catch (const arc::Error&) {
      continue;  // expected of most inputs
    }
  }
  return 0;
}
