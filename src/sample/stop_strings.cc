#include "sample/stop_strings.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/utf8.h"

namespace arc {

StopStrings::StopStrings(const std::vector<std::string>& stops) {
  for (const std::string& text : stops) {
    ARC_CHECK(!text.empty());
    Matcher m{.text = text, .fallback = {0, 0}};
    for (size_t i = 1, border = 0; i < text.size(); ++i) {
      while (border > 0 && text[i] != text[border]) border = m.fallback[border];
      if (text[i] == text[border]) ++border;
      m.fallback.push_back(border);
    }
    matchers_.push_back(std::move(m));
  }
}

bool StopStrings::Matcher::advance(char c) {
  while (matched > 0 && text[matched] != c) matched = fallback[matched];
  if (text[matched] == c) ++matched;
  if (matched < text.size()) return false;
  matched = fallback[matched];
  return true;
}

StopStrings::Piece StopStrings::push(std::string_view text, bool may_stop) {
  for (const char c : text) {
    held_.push_back(c);
    const Matcher* longest = nullptr;
    for (Matcher& m : matchers_) {
      if (m.advance(c) && (longest == nullptr || m.text.size() > longest->text.size())) longest = &m;
    }
    if (longest == nullptr || !may_stop) continue;
    held_.resize(held_.size() - longest->text.size());
    return {.text = std::exchange(held_, {}), .stop = longest->text};
  }
  size_t open = 0;  // bytes at the end that may be the start of a stop string
  for (const Matcher& m : matchers_) open = std::max(open, m.matched);
  const size_t safe = utf8_complete_prefix(std::string_view(held_).substr(0, held_.size() - open));
  Piece piece{.text = held_.substr(0, safe)};
  held_.erase(0, safe);
  return piece;
}

std::string StopStrings::finish() {
  return std::exchange(held_, {});
}

}  // namespace arc
