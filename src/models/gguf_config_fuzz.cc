// libFuzzer target: a JSON object as the metadata of a GGUF file. Its key "tensors" lists the file's tensors. The only
// way out is a valid model or an arc::Error.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>

#include "nlohmann/json.hpp"

#include "base/error.h"
#include "base/json.h"
#include "models/arch.h"
#include "models/gguf.h"

namespace {

void build(const arc::Json& file) {
  const arc::Json tensors = file.value("tensors", arc::Json::array());
  arc::GgufFacts facts{.value = [&](std::string_view key) { return file.value(std::string(key), arc::Json()); },
                       .has_tensor =
                           [&](std::string_view name) {
                             return std::ranges::find(tensors, arc::Json(std::string(name))) != tensors.end();
                           },
                       .numbers = [](std::string_view) { return std::vector<double>{1.0, 2.0}; },
                       .vocabulary = 131,
                       .dtype = "float16"};
  for (const auto& [key, value] : file.items()) {
    if (!value.is_object()) facts.keys.push_back(key);
  }
  const arc::GgufDialect& dialect = arc::find_gguf_dialect(facts);
  const arc::Config config(arc::gguf_config(dialect, facts), "metadata");
  const arc::ModelSpec spec = arc::find_arch(dialect.arch).build(config);
  arc::validate(spec);
  config.expect_known();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const arc::Json file = arc::parse_json({reinterpret_cast<const char*>(data), size}, "metadata");
    if (file.is_object()) build(file);
  } catch (const arc::Error&) {  // expected of most inputs
  }
  return 0;
}
