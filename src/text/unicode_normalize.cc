// Normal forms (UAX 15) by the tables of unicode_data.h.
#include <algorithm>
#include <array>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/utf8.h"
#include "text/unicode.h"
#include "text/unicode_data.h"

namespace arc {
namespace {

using namespace unicode_data;

constexpr char32_t kHangulFirst = 0xAC00, kHangulLast = 0xD7A3;
constexpr char32_t kFirstL = 0x1100, kFirstV = 0x1161, kBeforeT = 0x11A7;
constexpr char32_t kLCount = 19, kVCount = 21, kTCount = 28;

bool is_syllable(char32_t c) {
  return c >= kHangulFirst && c <= kHangulLast;
}

uint64_t pair_key(char32_t first, char32_t second) {
  return (uint64_t{first} << 32) | second;
}

struct Decomposition {
  uint32_t begin = 0;  // in `characters`: the canonical one, then the other
  uint8_t n_canonical = 0, n_full = 0;
};

class NormalForms {
 public:
  NormalForms();

  bool is_stable(char32_t c, UnicodeForm form) const { return (unstable_[c] >> static_cast<int>(form) & 1) == 0; }
  uint8_t combining_class(char32_t c) const { return classes_[c]; }
  // Appends the characters that `c` comes apart into.
  void decompose(char32_t c, bool full, std::u32string& out) const;
  char32_t compose(char32_t first, char32_t second) const;  // 0: they stay apart

 private:
  void read_compositions();
  void read_decompositions();
  void mark(char32_t first, char32_t last, std::initializer_list<UnicodeForm> forms);

  std::vector<Decomposition> decompositions_ = std::vector<Decomposition>(1);
  CodePointTable<uint16_t> decomposition_of_;  // 0: none
  std::u32string characters_;
  std::unordered_map<uint64_t, char32_t> compositions_;
  CodePointTable<uint8_t> classes_ = decode_table<uint8_t>(kCombiningClasses);
  CodePointTable<uint8_t> unstable_;  // a bit for each form: what stands next to the character may change
};

NormalForms::NormalForms() {
  using enum UnicodeForm;
  read_decompositions();
  read_compositions();
  for (const auto& [range, value] : decode_values(kCombiningClasses))
    mark(range.first, range.last, {nfc, nfd, nfkc, nfkd});
  mark(kHangulFirst, kHangulLast, {nfd, nfkd});
  mark(kFirstV, kFirstV + kVCount - 1, {nfc, nfkc});
  mark(kBeforeT + 1, kBeforeT + kTCount - 1, {nfc, nfkc});
}

void NormalForms::mark(char32_t first, char32_t last, std::initializer_list<UnicodeForm> forms) {
  for (char32_t c = first; c <= last; ++c) {
    uint8_t bits = unstable_[c];
    for (const UnicodeForm form : forms) bits |= static_cast<uint8_t>(1 << static_cast<int>(form));
    unstable_.set(c, c, bits);
  }
}

void NormalForms::read_decompositions() {
  using enum UnicodeForm;
  char32_t c = 0;
  for (Numbers numbers(kDecompositions); !numbers.done();) {
    c += numbers.next();
    Decomposition one{.begin = static_cast<uint32_t>(characters_.size())};
    one.n_canonical = static_cast<uint8_t>(numbers.next());
    one.n_full = static_cast<uint8_t>(numbers.next());
    for (int i = 0; i < one.n_canonical + one.n_full; ++i) characters_ += numbers.next();
    decomposition_of_.set(c, c, static_cast<uint16_t>(decompositions_.size()));
    decompositions_.push_back(one);
    if (one.n_canonical > 0) mark(c, c, {nfc, nfd});  // unless it is composed again
    mark(c, c, {nfkc, nfkd});
  }
}

void NormalForms::read_compositions() {
  using enum UnicodeForm;
  for (Numbers numbers(kCompositions); !numbers.done();) {
    const char32_t composed = numbers.next(), first = numbers.next(), second = numbers.next();
    compositions_.emplace(pair_key(first, second), composed);
    const bool also_full = decompositions_[decomposition_of_[composed]].n_full == 0;
    const uint8_t stable =
        static_cast<uint8_t>(1 << static_cast<int>(nfc) | (also_full ? 1 << static_cast<int>(nfkc) : 0));
    unstable_.set(composed, composed, static_cast<uint8_t>(unstable_[composed] & ~stable));
  }
  for (const auto& [pair, composed] : compositions_) {
    const auto second = static_cast<char32_t>(pair & 0xFFFFFFFF);
    mark(second, second, {nfc, nfkc});
  }
}

void NormalForms::decompose(char32_t c, bool full, std::u32string& out) const {
  if (is_syllable(c)) {
    const char32_t index = c - kHangulFirst, t = index % kTCount;
    out += kFirstL + index / (kVCount * kTCount);
    out += kFirstV + index / kTCount % kVCount;
    if (t > 0) out += kBeforeT + t;
    return;
  }
  const Decomposition& one = decompositions_[decomposition_of_[c]];
  if (full && one.n_full > 0) {
    out.append(characters_, one.begin + one.n_canonical, one.n_full);
  } else if (one.n_canonical > 0) {
    out.append(characters_, one.begin, one.n_canonical);
  } else {
    out += c;
  }
}

char32_t NormalForms::compose(char32_t first, char32_t second) const {
  const char32_t l = first - kFirstL, v = second - kFirstV, t = second - kBeforeT;  // unsigned: too low is too high
  if (l < kLCount && v < kVCount) return kHangulFirst + (l * kVCount + v) * kTCount;
  if (is_syllable(first) && (first - kHangulFirst) % kTCount == 0 && t > 0 && t < kTCount) return first + t;
  const auto it = compositions_.find(pair_key(first, second));
  return it == compositions_.end() ? 0 : it->second;
}

const NormalForms& forms() {
  static const NormalForms instance;
  return instance;
}

constexpr size_t kClasses = 64;  // more than there are

// By class, stable.
void sort_marks(std::u32string& text, size_t begin, size_t end) {
  std::array<size_t, kClasses> places{};
  for (size_t i = begin; i < end; ++i) ++places[forms().combining_class(text[i])];
  for (size_t place = begin; size_t& n : places) place += std::exchange(n, place);
  const std::u32string marks = text.substr(begin, end - begin);
  for (const char32_t c : marks) text[places[forms().combining_class(c)]++] = c;
}

// Each run of combining characters in the order of their classes.
void reorder(std::u32string& text) {
  for (size_t begin = 0, end = 0; begin < text.size(); begin = end + 1) {
    end = begin;
    while (end < text.size() && forms().combining_class(text[end]) != 0) ++end;
    if (end - begin > 1) sort_marks(text, begin, end);
  }
}

void compose_all(std::u32string& text) {
  size_t kept = 0, starter = text.size();  // text.size(): no starter yet
  uint8_t last_class = 0;                  // of what was kept after the starter
  bool adjacent = false;                   // nothing was
  for (const char32_t c : text) {
    const uint8_t c_class = forms().combining_class(c);
    if (starter < text.size() && (adjacent || last_class < c_class)) {
      if (const char32_t composed = forms().compose(text[starter], c)) {
        text[starter] = composed;
        continue;
      }
    }
    if (c_class == 0) starter = kept;
    adjacent = c_class == 0;
    last_class = c_class;
    text[kept++] = c;
  }
  text.resize(kept);
}

void append_normalized(std::string& out, std::string_view text, UnicodeForm form, std::u32string& buffer) {
  buffer.clear();
  const bool full = form == UnicodeForm::nfkc || form == UnicodeForm::nfkd;
  for (size_t i = 0; i < text.size();) forms().decompose(utf8_decode(text, i), full, buffer);
  reorder(buffer);
  if (form == UnicodeForm::nfc || form == UnicodeForm::nfkc) compose_all(buffer);
  for (const char32_t c : buffer) utf8_append(out, c);
}

}  // namespace

std::string unicode_normalize(std::string_view text, UnicodeForm form) {
  // Only runs of characters that are not stable, each with the character before it, are worked on.
  const auto is_stable = [&](char32_t c) { return c < 0x80 || forms().is_stable(c, form); };
  std::string out;
  std::u32string buffer;
  out.reserve(text.size());
  size_t kept = 0;  // text before it is in `out`
  for (size_t i = 0, previous = 0; i < text.size();) {
    size_t next = i;
    if (is_stable(utf8_decode(text, next))) {
      previous = i;
      i = next;
      continue;
    }
    while (next < text.size()) {
      size_t after = next;
      if (is_stable(utf8_decode(text, after))) break;
      next = after;
    }
    const size_t start = std::max(previous, kept);
    out.append(text, kept, start - kept);
    append_normalized(out, text.substr(start, next - start), form, buffer);
    kept = i = previous = next;
  }
  return out.append(text, kept);
}

}  // namespace arc
