// Base64 (RFC 4648), padded, as tokenizer files hold bytes.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace arc {

// Nothing when `text` is no base64.
std::optional<std::string> base64_decode(std::string_view text);

}  // namespace arc
