// The tokenizer and the chat template that a GGUF file's metadata describe.
#pragma once

#include <optional>

#include "io/gguf.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace arc {

// Throws Error(unsupported, corrupt_data) that names the key.
Tokenizer gguf_tokenizer(const GgufMetadata& metadata);

// Nothing when the file has no template.
std::optional<ChatTemplate> gguf_chat_template(const GgufMetadata& metadata, const Tokenizer& tokenizer);

}  // namespace arc
