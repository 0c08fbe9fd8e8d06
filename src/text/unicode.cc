#include "text/unicode.h"

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "base/utf8.h"
#include "text/unicode_data.h"

namespace arc {
namespace {

using namespace unicode_data;

// What make_unicode_tables.py found out about a character's place in grapheme clusters.
enum GraphemeFlag : uint8_t {
  joins_before = 1,
  joins_next = 2,
  control = 4,
  pictograph = 8,
  consonant = 16,  // with a linker between them, one joins the next (GB9c)
  linker = 32,
  skipped = 64,  // what else may lie between
};

constexpr char32_t kJoiner = 0x200D;

uint8_t grapheme_flags(char32_t c) {
  static const auto table = decode_table<uint8_t>(kGraphemes);
  if (c < 0x80) return c < 0x20 || c == 0x7F ? control : 0;
  return table[c];
}

enum class Hangul { none, l, v, t, lv, lvt };

Hangul hangul(char32_t c) {
  if (c < 0x1100 || c > 0xD7FB) return Hangul::none;
  if (c >= 0xAC00 && c <= 0xD7A3) return (c - 0xAC00) % 28 == 0 ? Hangul::lv : Hangul::lvt;
  if (c <= 0x115F || (c >= 0xA960 && c <= 0xA97C)) return Hangul::l;
  if ((c >= 0x1160 && c <= 0x11A7) || (c >= 0xD7B0 && c <= 0xD7C6)) return Hangul::v;
  if ((c >= 0x11A8 && c <= 0x11FF) || c >= 0xD7CB) return Hangul::t;
  return Hangul::none;
}

bool hangul_joins(Hangul a, Hangul b) {
  if (a == Hangul::l) return b != Hangul::none && b != Hangul::t;
  if (a == Hangul::v || a == Hangul::lv) return b == Hangul::v || b == Hangul::t;
  return (a == Hangul::t || a == Hangul::lvt) && b == Hangul::t;
}

std::string loose_name(std::string_view name) {
  std::string plain;
  for (const char c : name) {
    if (c != '_' && c != '-' && c != ' ') plain += c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  }
  return plain;
}

CodeSet categories(std::string_view prefix) {
  std::vector<bool> wanted;
  for (const char* name : kCategoryNames) wanted.push_back(loose_name(name).starts_with(prefix));
  std::vector<CodeRange> ranges, assigned;
  for (const auto& [range, value] : decode_values(kCategories)) {
    assigned.push_back(range);
    if (wanted[value - 1]) ranges.push_back(range);
  }
  CodeSet set(std::move(ranges));
  if (std::string_view("cn").starts_with(prefix)) set = set | ~CodeSet(std::move(assigned));
  return set;
}

// Long names, as Oniguruma has them.
constexpr std::pair<std::string_view, std::string_view> kLongNames[] = {
    {"letter", "l"},
    {"uppercaseletter", "lu"},
    {"lowercaseletter", "ll"},
    {"titlecaseletter", "lt"},
    {"modifierletter", "lm"},
    {"otherletter", "lo"},
    {"mark", "m"},
    {"nonspacingmark", "mn"},
    {"spacingmark", "mc"},
    {"enclosingmark", "me"},
    {"number", "n"},
    {"decimalnumber", "nd"},
    {"letternumber", "nl"},
    {"othernumber", "no"},
    {"punctuation", "p"},
    {"punct", "p"},
    {"connectorpunctuation", "pc"},
    {"dashpunctuation", "pd"},
    {"openpunctuation", "ps"},
    {"closepunctuation", "pe"},
    {"initialpunctuation", "pi"},
    {"finalpunctuation", "pf"},
    {"otherpunctuation", "po"},
    {"symbol", "s"},
    {"mathsymbol", "sm"},
    {"currencysymbol", "sc"},
    {"modifiersymbol", "sk"},
    {"othersymbol", "so"},
    {"separator", "z"},
    {"spaceseparator", "zs"},
    {"lineseparator", "zl"},
    {"paragraphseparator", "zp"},
    {"other", "c"},
    {"control", "cc"},
    {"format", "cf"},
    {"privateuse", "co"},
    {"unassigned", "cn"},
    {"surrogate", "cs"},
};

}  // namespace

std::string unicode_lowercase(std::string_view text) {
  static const auto distance = [] {
    CodePointTable<int32_t> table;
    for (const auto& [range, value] : decode_values(kSmallLetters)) {
      const auto half = static_cast<int32_t>(value / 2);
      table.set(range.first, range.last, value % 2 == 0 ? half : -half - 1);
    }
    return table;
  }();
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const char32_t c = utf8_decode(text, i);
    if (c == 0x130) {  // the one character whose lower case is two
      out += "i\u0307";
    } else {
      utf8_append(out, static_cast<char32_t>(static_cast<int32_t>(c) + distance[c]));
    }
  }
  return out;
}

bool is_unicode_space(char32_t c) {
  static const auto table = decode_test(kSpaces);
  return table[c];
}

bool is_unicode_numeric(char32_t c) {
  static const auto table = decode_test(kNumeric);
  return table[c];
}

bool is_unicode_mark(char32_t c) {
  static const auto table = decode_test(kMarks);
  return table[c];
}

bool is_unicode_punctuation(char32_t c) {
  static const auto table = decode_test(kPunctuation);
  return table[c];
}

bool is_unicode_word(char32_t c) {
  static const auto table = decode_test(kRustWords);
  return table[c];
}

CodeSet unicode_words() {
  return decode_set(kRustWords);
}

bool is_bert_dropped(char32_t c) {
  static const auto table = decode_test(kBertDropped);
  return table[c];
}

bool is_bert_chinese(char32_t c) {
  static const auto table = decode_test(kBertChinese);
  return table[c];
}

bool is_bert_accent(char32_t c) {
  static const auto table = decode_test(kBertAccents);
  return table[c];
}

uint8_t unicode_script(char32_t c) {
  static const auto table = decode_table<uint8_t>(kScripts);
  return table[c];
}

size_t grapheme_end(std::string_view text, size_t begin) {
  size_t end = begin;
  char32_t last = utf8_decode(text, end);
  uint8_t flags = grapheme_flags(last);
  bool after_pictograph = (flags & pictograph) != 0;  // and what joins it
  bool joined_pictograph = false;                     // then a joiner
  bool after_consonant = (flags & consonant) != 0, linked = false;
  while (end < text.size()) {
    size_t next_end = end;
    const char32_t next = utf8_decode(text, next_end);
    const uint8_t next_flags = grapheme_flags(next);
    const bool joins =
        (last == '\r' && next == '\n') ||
        (!((flags | next_flags) & control) &&
         ((next_flags & joins_before) || (flags & joins_next) || hangul_joins(hangul(last), hangul(next)) ||
          ((next_flags & pictograph) && joined_pictograph) || ((next_flags & consonant) && linked)));
    if (!joins) break;
    joined_pictograph = after_pictograph && next == kJoiner;
    after_pictograph =
        (next_flags & pictograph) || (after_pictograph && (next_flags & joins_before) && next != kJoiner);
    linked = after_consonant && ((next_flags & linker) || (linked && (next_flags & skipped)));
    after_consonant = (next_flags & consonant) || (after_consonant && (next_flags & (linker | skipped)));
    last = next;
    flags = next_flags;
    end = next_end;
  }
  return end;
}

std::optional<CodeSet> unicode_property(std::string_view name) {
  std::string plain = loose_name(name);
  if (plain == "any") return CodeSet::all();
  if (plain == "ascii") return CodeSet({{0, 0x7F}});
  if (plain == "assigned") return ~categories("cn");
  for (const auto& [long_name, short_name] : kLongNames) {
    if (plain == long_name) plain = short_name;
  }
  const auto is_category = [&](std::string_view category) { return loose_name(category).starts_with(plain); };
  if (!plain.empty() && plain.size() <= 2 && std::ranges::any_of(kCategoryNames, is_category)) return categories(plain);
  for (const NamedSet& set : kSetNames) {
    if (plain == set.name) return decode_set(Bytes(kNamedSets).subspan(set.begin, set.end - set.begin));
  }
  return std::nullopt;
}

CodeSet unicode_fold(const CodeSet& set) {
  std::vector<CodeRange> folded = set.ranges();
  for (Numbers numbers(kFoldGroups); !numbers.done();) {
    std::vector<char32_t> group(numbers.next());
    for (char32_t& c : group) c = numbers.next();
    if (std::ranges::none_of(group, [&](char32_t c) { return set.contains(c); })) continue;
    for (const char32_t c : group) folded.push_back({c, c});
  }
  return CodeSet(std::move(folded));
}

bool unicode_folds_to_one(std::u32string_view text) {
  static const auto texts = [] {
    std::set<std::u32string> found;
    for (Numbers numbers(kFoldTexts); !numbers.done();) {
      std::u32string one(numbers.next(), U'\0');
      for (char32_t& c : one) c = numbers.next();
      found.insert(std::move(one));
    }
    return found;
  }();
  return texts.contains(std::u32string(text));
}

const CodeSet& unicode_folds_to_many() {
  static const CodeSet set = decode_set(kFoldsToMany);
  return set;
}

}  // namespace arc
