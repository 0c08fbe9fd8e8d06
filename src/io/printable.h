// Names from files, made fit for messages, and the message for a broken file.
#pragma once

#include <string>
#include <string_view>

#include "fmt/format.h"

#include "base/error.h"
#include "base/utf8.h"

namespace arc {

// `text` (UTF-8) cut to at most 200 bytes, on one line, without control characters.
inline std::string printable(std::string_view text) {
  text = text.substr(0, 200);
  std::string result(text.substr(0, utf8_complete_prefix(text)));
  for (char& c : result) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return result;
}

[[noreturn]] inline void fail_damaged(std::string_view file, const std::string& problem) {
  throw Error(ErrorCode::corrupt_data,
              fmt::format("{}: {}. The file is damaged or incomplete: download it again", file, problem));
}

}  // namespace arc
