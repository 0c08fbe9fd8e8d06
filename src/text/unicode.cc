#include "text/unicode.h"

#include <algorithm>
#include <cstdlib>
#include <memory>

#include "base/check.h"
#include "base/utf8.h"
#include "utf8proc.h"

namespace arc {
namespace {

constexpr char32_t kFirstCombining = 0x300;

int category(char32_t c) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(c));
}

bool between(int value, int first, int last) {
  return value >= first && value <= last;
}

// Letters that are no \p{L}: circled and squared Latin letters have Other_Alphabetic.
bool is_symbol_letter(char32_t c) {
  return between(c, 0x24B6, 0x24E9) || between(c, 0x1F130, 0x1F149) || between(c, 0x1F150, 0x1F169) ||
         between(c, 0x1F170, 0x1F189);
}

void append_normalized(std::string& out, std::string_view text, utf8proc_option_t form) {
  utf8proc_uint8_t* mapped = nullptr;
  const auto size =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()), static_cast<utf8proc_ssize_t>(text.size()),
                   &mapped, static_cast<utf8proc_option_t>(UTF8PROC_STABLE | form));
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(mapped, &std::free);
  ARC_CHECK(size >= 0) << utf8proc_errmsg(size);
  out.append(reinterpret_cast<const char*>(mapped), static_cast<size_t>(size));
}

utf8proc_option_t option_of(UnicodeForm form) {
  switch (form) {
    case UnicodeForm::nfc:
      return UTF8PROC_COMPOSE;
    case UnicodeForm::nfd:
      return UTF8PROC_DECOMPOSE;
    case UnicodeForm::nfkc:
      return static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_COMPAT);
    case UnicodeForm::nfkd:
      return static_cast<utf8proc_option_t>(UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT);
  }
  return UTF8PROC_COMPOSE;
}

}  // namespace

std::string unicode_normalize(std::string_view text, UnicodeForm form) {
  // NFC leaves characters below U+0300 alone unless one from there on follows; the other forms, only ASCII. So just the
  // runs above the limit, each with the character before it, are normalised.
  const char32_t limit = form == UnicodeForm::nfc ? kFirstCombining : 0x80;
  std::string out;
  out.reserve(text.size());
  size_t kept = 0;  // text before it is in `out`
  for (size_t i = 0, previous = 0; i < text.size();) {
    size_t next = i;
    if (utf8_decode(text, next) < limit) {
      previous = i;
      i = next;
      continue;
    }
    while (next < text.size()) {
      size_t after = next;
      if (utf8_decode(text, after) < limit) break;
      next = after;
    }
    const size_t start = std::max(previous, kept);
    out.append(text, kept, start - kept);
    append_normalized(out, text.substr(start, next - start), option_of(form));
    kept = i = previous = next;
  }
  return out.append(text, kept);
}

std::string unicode_lowercase(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const char32_t c = utf8_decode(text, i);
    utf8_append(out, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))));
    if (c == 0x130) utf8_append(out, 0x307);  // the one character whose lower case is two
  }
  return out;
}

bool is_unicode_space(char32_t c) {
  return between(c, 0x09, 0x0D) || c == 0x85 || between(category(c), UTF8PROC_CATEGORY_ZS, UTF8PROC_CATEGORY_ZP);
}

bool is_unicode_numeric(char32_t c) {
  return between(category(c), UTF8PROC_CATEGORY_ND, UTF8PROC_CATEGORY_NO);
}

bool is_unicode_mark(char32_t c) {
  return between(category(c), UTF8PROC_CATEGORY_MN, UTF8PROC_CATEGORY_ME);
}

bool is_unicode_punctuation(char32_t c) {
  if (c < 0x80) {
    return between(c, '!', '/') || between(c, ':', '@') || between(c, '[', '`') || between(c, '{', '~');
  }
  return between(category(c), UTF8PROC_CATEGORY_PC, UTF8PROC_CATEGORY_PO);
}

bool is_unicode_word(char32_t c) {
  const int group = category(c);
  return between(group, UTF8PROC_CATEGORY_LU, UTF8PROC_CATEGORY_NL) || group == UTF8PROC_CATEGORY_PC || c == 0x200C ||
         c == 0x200D || is_symbol_letter(c);
}

}  // namespace arc
