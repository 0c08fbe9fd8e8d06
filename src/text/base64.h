// Base64 (RFC 4648), padded, as tokenizer files and vectors in responses hold bytes.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace arc {

std::string base64_encode(std::string_view bytes);

// Nothing when `text` is no base64.
std::optional<std::string> base64_decode(std::string_view text);

}  // namespace arc
