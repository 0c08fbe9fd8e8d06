// Chat messages as clients send them, made ready for a chat template.
#pragma once

#include <cstddef>

#include "base/json.h"
#include "serve/request_field.h"

namespace arc::serve {

// Checks the messages and returns them with two changes that templates count on: a content given as a list of text
// parts becomes their texts joined by newlines, and a tool call's `arguments`, JSON inside a string, becomes the
// object. Fields that Arc does not know are kept: the template may.
Json template_messages(const Field& messages, size_t max_messages);

// Checks the tools, which the template sees as they are.
const Json& template_tools(const Field& tools, size_t max_tools);

}  // namespace arc::serve
