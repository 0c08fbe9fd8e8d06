#include "serve/json_text.h"

#include <cmath>
#include <iterator>

#include "fmt/format.h"

#include "base/utf8.h"

namespace arc::serve {
namespace {

bool is_plain(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte >= 0x20 && byte < 0x80 && c != '"' && c != '\\';
}

void append_escaped(std::string& out, char c) {
  switch (c) {
    case '"':
      out += "\\\"";
      return;
    case '\\':
      out += "\\\\";
      return;
    case '\n':
      out += "\\n";
      return;
    case '\r':
      out += "\\r";
      return;
    case '\t':
      out += "\\t";
      return;
    default:
      fmt::format_to(std::back_inserter(out), "\\u{:04x}", static_cast<unsigned>(c));
  }
}

}  // namespace

void append_json_string(std::string& out, std::string_view text) {
  out += '"';
  for (size_t i = 0; i < text.size();) {
    size_t end = i;
    while (end < text.size() && is_plain(text[end])) ++end;
    out.append(text, i, end - i);
    i = end;
    if (i == text.size()) break;
    if (static_cast<unsigned char>(text[i]) < 0x80) {
      append_escaped(out, text[i++]);
    } else {
      utf8_append(out, utf8_decode(text, i));
    }
  }
  out += '"';
}

void append_json_logprob(std::string& out, float value) {
  if (!std::isfinite(value)) value = -9999.0f;
  fmt::format_to(std::back_inserter(out), "{}", value);
}

}  // namespace arc::serve
