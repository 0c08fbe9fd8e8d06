// JSON as Arc reads it: nlohmann's document with key order kept, parsed under limits because files and requests are
// hostile.
#pragma once

#include <cstddef>
#include <string_view>

#include "nlohmann/json_fwd.hpp"

namespace arc {

using Json = nlohmann::ordered_json;

struct JsonLimits {
  size_t max_bytes = size_t{256} << 20;
  int max_depth = 128;
  size_t max_members =
      20'000;  // of all objects together: looking up a key costs time in proportion to its object's size
};

// Parses one JSON document. Numbers that overflow a double, nesting past `max_depth`, invalid UTF-8 and trailing text
// are errors. `what` names the document in the message ("config.json"). Throws Error(corrupt_data).
Json parse_json(std::string_view text, std::string_view what, const JsonLimits& limits = {});

}  // namespace arc
