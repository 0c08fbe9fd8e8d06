// JSON written straight into a string: what a response needs per token, without a document.
#pragma once

#include <string>
#include <string_view>

namespace arc::serve {

// Appends `text` as a JSON string with its quotes. Invalid UTF-8 becomes U+FFFD, so that a response is always valid.
void append_json_string(std::string& out, std::string_view text);

// Appends the shortest number that reads back as `value`. JSON knows no infinity: a log probability that is not finite
// is written -9999, as OpenAI does.
void append_json_logprob(std::string& out, float value);

}  // namespace arc::serve
