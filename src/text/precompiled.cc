#include "text/precompiled.h"

#include <optional>

#include "base/utf8.h"
#include "text/base64.h"
#include "text/pattern.h"
#include "text/unicode.h"

namespace arc {
namespace {

constexpr size_t kMaxClusterBytes = 5;

}  // namespace

std::string Precompiled::apply(std::string_view text, size_t max_bytes) const {
  const auto find = [&](std::string_view part) { return rules.shortest(part.substr(0, part.find('\0'))); };
  std::string out;
  out.reserve(text.size());
  for (size_t begin = 0; begin < text.size();) {
    if (out.size() > max_bytes) fail_growth();
    const size_t end = grapheme_end(text, begin);
    const bool is_short = end - begin <= kMaxClusterBytes;
    if (const auto whole = is_short ? find(text.substr(begin, end - begin)) : std::nullopt) {
      out += whole->replacement;
      begin = end;
      continue;
    }
    while (begin < end) {
      const size_t character = begin;
      utf8_decode(text, begin);
      const std::string_view one = text.substr(character, begin - character);
      const auto rule = find(one);
      out += rule ? rule->replacement : one;
    }
  }
  return out;
}

Precompiled read_precompiled(const JsonFields& fields) {
  const auto bytes = base64_decode(fields.text_or("precompiled_charsmap", ""));
  if (!bytes) fields.fail("Precompiled: `precompiled_charsmap` is not base64");
  return {CharsMap(*bytes)};
}

}  // namespace arc
