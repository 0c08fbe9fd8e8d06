#include "text/regex_translate.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "fmt/format.h"

#include "base/error.h"
#include "base/utf8.h"
#include "text/code_set.h"
#include "text/regex_alphabet.h"
#include "text/regex_classes.h"
#include "text/unicode.h"

namespace arc {
namespace {

constexpr size_t kMaxNesting = 100;
constexpr size_t kMaxSets = 2 * RegexAlphabet::kMaxSymbols;

// A part of the translated pattern: text as it is, or a class that is written once all classes are known.
struct Item {
  std::string text;
  int32_t set = -1;  // in Parser::sets
};

// One pass over the pattern.
class Parser {
 public:
  Parser(std::string_view pattern, RegexDialect dialect) : pattern_(pattern), rust_(dialect == RegexDialect::rust) {}

  void run() {
    groups_.push_back({});
    while (i_ < pattern_.size()) step();
    if (groups_.size() > 1) corrupt("a group has no )");
    close_options();
  }

  std::vector<Item> items;
  std::vector<CodeSet> sets = {CodeSet::of('\n')};

 private:
  struct Options {
    bool ignore_case = false, dot_all = false, multi_line = false;
  };
  struct Group {
    size_t item = 0;      // where it begins
    Options outside;      // what holds again after it
    size_t n_opened = 0;  // by options that reach to its end
  };

  [[noreturn]] void reject(ErrorCode code, std::string_view why) const {
    throw Error(code, fmt::format("tokenizer pattern `{}`: {}", pattern_, why));
  }
  [[noreturn]] void corrupt(std::string_view why) const { reject(ErrorCode::corrupt_data, why); }
  [[noreturn]] void unsupported(std::string_view why) const { reject(ErrorCode::unsupported, why); }

  RegexContext context() const { return {rust_ ? RegexDialect::rust : RegexDialect::oniguruma, in_class_}; }

  bool next_is(std::string_view text) const { return pattern_.substr(i_).starts_with(text); }
  bool take(std::string_view text) {
    const bool found = next_is(text);
    if (found) i_ += text.size();
    return found;
  }
  char32_t take_character() {
    if (i_ == pattern_.size()) corrupt("it breaks off");
    return utf8_decode(pattern_, i_);
  }

  void step() {
    const char c = pattern_[i_];
    switch (c) {
      case '\\':
        return escape();
      case '[':
        ++i_;
        in_class_ = true;
        add_class(character_class(0));
        in_class_ = false;
        return;
      case '(':
        return open_group();
      case ')':
        return close_group();
      case '|':
        ++i_;
        literals_.clear();
        return add_text("|");
      case '.':
        ++i_;
        return add_atom(options_.dot_all ? CodeSet::all() : ~CodeSet::of('\n'));
      case '^':
        ++i_;
        return add_assertion(rust_ && !options_.multi_line ? "\\A" : "^");
      case '$':
        ++i_;
        return add_assertion(rust_ && !options_.multi_line ? "\\z" : "$");
      case '*':
      case '+':
      case '?':
        ++i_;
        return quantifier(std::string(1, c));
      case '{':
        return interval();
      default:
        return add_literal(take_character());
    }
  }

  // ---- what is put out ----

  void add_text(std::string text) {
    items.push_back({std::move(text)});
    atom_.reset();
  }
  void add_assertion(std::string text) {
    literals_.clear();
    add_text(std::move(text));
  }
  void add_set(CodeSet set) {
    const auto it = std::ranges::find(sets, set);
    items.push_back({{}, static_cast<int32_t>(it - sets.begin())});
    if (it == sets.end()) sets.push_back(std::move(set));
    if (sets.size() > kMaxSets) unsupported("it names too many different characters");
  }
  void add_atom(CodeSet set) {
    literals_.clear();
    atom_ = items.size();
    add_set(std::move(set));
  }
  void add_class(const CodeSet& set) { add_atom(options_.ignore_case ? folded(set) : set); }
  void add_literal(char32_t c) {
    if (!options_.ignore_case) return add_atom(CodeSet::of(c));
    atom_ = items.size();
    add_set(folded(CodeSet::of(c)));
    std::string one;
    utf8_append(one, c);
    size_t i = 0;
    literals_ += utf8_decode(unicode_lowercase(one), i);
    for (size_t start = 0; start < literals_.size(); ++start) {
      if (unicode_folds_to_one(std::u32string_view(literals_).substr(start))) unsupported_fold();
    }
    if (literals_.size() == 3) literals_.erase(0, 1);  // no such text is longer
  }

  // What (?i) makes of a class. That ß also stands for ss is beyond it.
  CodeSet folded(const CodeSet& set) const {
    const CodeSet small({{'a', 'z'}});
    if (!(set & unicode_folds_to_many()).empty() && (set & small) != small) unsupported_fold();
    return unicode_fold(set);
  }
  [[noreturn]] void unsupported_fold() const {
    unsupported("under (?i), letters that are one character in another case (ss and ß) are not supported");
  }

  // ---- quantifiers ----

  void quantifier(std::string text) {
    if (!atom_) corrupt("nothing to repeat");
    literals_.clear();
    if (take("?")) {
      text += '?';
    } else if (take("+")) {
      text += '+';
    }
    const size_t atom = *atom_;
    add_text(std::move(text));
    atom_ = atom;
  }

  // {n}, {n,}, {,m}, {n,m}; anything else is a literal brace.
  void interval() {
    size_t i = i_ + 1;
    const auto digits = [&] {
      const size_t begin = i;
      while (i < pattern_.size() && pattern_[i] >= '0' && pattern_[i] <= '9') ++i;
      return pattern_.substr(begin, i - begin);
    };
    const std::string_view low = digits();
    const bool comma = i < pattern_.size() && pattern_[i] == ',';
    if (comma) ++i;
    const std::string_view high = comma ? digits() : low;
    const bool valid = i < pattern_.size() && pattern_[i] == '}' && (!low.empty() || !high.empty());
    if (!valid) return add_literal(take_character());
    i_ = i + 1;
    if (!atom_) corrupt("nothing to repeat");
    literals_.clear();
    const size_t atom = *atom_;
    add_text(fmt::format("{{{}{}{}}}", low.empty() ? "0" : low, comma ? "," : "", comma ? high : ""));
    atom_ = atom;
    if (rust_) {
      if (next_is("?") || next_is("+")) items.back().text += pattern_[i_++];
      return;
    }
    // Oniguruma: {n,m}+ repeats the repetition, and so does {n}?.
    if (next_is("+") || (!comma && next_is("?"))) {
      const char repeat = pattern_[i_++];
      items.insert(items.begin() + static_cast<std::ptrdiff_t>(atom), {"(?:"});
      items.push_back({std::string(")") + repeat});
    } else if (take("?")) {
      items.back().text += '?';
    }
  }

  // ---- groups ----

  void open_group() {
    ++i_;
    if (next_is("*")) corrupt("nothing to repeat after (");
    if (take("?#")) {
      const size_t end = pattern_.find(')', i_);
      if (end == pattern_.npos) corrupt("a comment has no )");
      i_ = end + 1;
      return;
    }
    if (!take("?")) return push_group("(?:");
    for (const std::string_view kind : {":", "=", "!", ">", "<=", "<!"}) {
      if (take(kind)) return push_group(fmt::format("(?{}", kind));
    }
    if (take("P<") || take("<")) {
      const size_t end = pattern_.find('>', i_);
      if (end == pattern_.npos) corrupt("a group's name has no >");
      i_ = end + 1;
      return push_group("(?:");
    }
    options_group();
  }

  // (?i:...), or (?i), which reaches to the end of the group around it.
  void options_group() {
    Options options = options_;
    for (bool on = true;; ++i_) {
      if (i_ == pattern_.size()) corrupt("options have no )");
      const char c = pattern_[i_];
      if (c == ':' || c == ')') break;
      if (c == '-') {
        on = false;
      } else if (c == 'i') {
        options.ignore_case = on;
      } else if (c == (rust_ ? 's' : 'm')) {
        options.dot_all = on;
      } else if (c == 'm') {
        options.multi_line = on;
      } else {
        unsupported(fmt::format("the option or group (?{} is not supported", c));
      }
    }
    if (take(":")) {
      push_group("(?:");
      options_ = options;
      return;
    }
    ++i_;
    options_ = options;
    if (rust_) return;
    add_assertion("(?:");
    if (++groups_.back().n_opened > kMaxNesting) corrupt("it is nested too deeply");
  }

  void push_group(std::string text) {
    if (groups_.size() > kMaxNesting) corrupt("it is nested too deeply");
    groups_.push_back({items.size(), options_, 0});
    add_assertion(std::move(text));
  }
  void close_options() {
    for (size_t i = 0; i < groups_.back().n_opened; ++i) items.push_back({")"});
  }
  void close_group() {
    if (groups_.size() == 1) corrupt("a ) has no group");
    ++i_;
    close_options();
    const Group group = groups_.back();
    groups_.pop_back();
    options_ = group.outside;
    add_assertion(")");
    atom_ = group.item;
  }

  // ---- escapes ----

  void escape() {
    if (i_ + 1 == pattern_.size()) corrupt("it ends in a backslash");
    const char c = pattern_[i_ + 1];
    switch (c) {
      case 'A':
      case 'z':
      case 'G':
        i_ += 2;
        return add_assertion(fmt::format("\\{}", c));
      case 'Z':
        i_ += 2;
        return add_assertion("(?=\\n?\\z)");
      case 'b':
      case 'B':
        i_ += 2;
        return word_boundary(c == 'B');
      default:
        break;
    }
    ++i_;
    if (const auto set = class_escape()) return add_class(*set);
    add_literal(character_escape());
  }

  void word_boundary(bool negated) {
    const CodeSet word = *regex_class('w', context());
    const auto look = [&](const char* open) {
      items.push_back({open});
      add_set(word);
      items.push_back({")"});
    };
    add_assertion("(?:");
    look("(?<=");
    look(negated ? "(?=" : "(?!");
    items.push_back({"|"});
    look("(?<!");
    look(negated ? "(?!" : "(?=");
    add_text(")");
  }

  // After the backslash: a class such as \s or \p{L}; nothing, and no step ahead, for another escape.
  std::optional<CodeSet> class_escape() {
    const char c = pattern_[i_];
    if (c == 'p' || c == 'P') return property();
    const bool negated = c >= 'A' && c <= 'Z';
    if (rust_ && (c == 'h' || c == 'H')) unsupported("\\h is not supported");
    const auto set = regex_class(negated ? static_cast<char>(c + 32) : c, context());
    if (!set) return std::nullopt;
    ++i_;
    return negated ? ~*set : *set;
  }

  CodeSet property() {
    bool negated = pattern_[i_++] == 'P';
    std::string_view name = pattern_.substr(i_, 1);  // \pL
    if (take("{")) {
      if (take("^")) negated = !negated;
      const size_t end = pattern_.find('}', i_);
      if (end == pattern_.npos) corrupt("{ has no }");
      name = pattern_.substr(i_, end - i_);
      i_ = end + 1;
    } else if (rust_ && !name.empty()) {
      ++i_;
    } else {
      corrupt("\\p needs a name in braces");
    }
    const auto set = regex_property(name, context());
    if (!set) reject(ErrorCode::unsupported, fmt::format("the class `{}` is not known", name));
    return negated ? ~*set : *set;
  }

  char32_t hexadecimal(size_t n_min, size_t n_max) {
    char32_t value = 0;
    size_t n = 0;
    for (; n < n_max && i_ < pattern_.size(); ++n, ++i_) {
      const char c = pattern_[i_];
      const int digit = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
      if (digit < 0) break;
      value = value * 16 + static_cast<char32_t>(digit);
    }
    if (n < n_min || value > kMaxCodePoint) corrupt("an escape needs hexadecimal digits of a code point");
    return value;
  }

  // After the backslash: \n, \x41, \x{41}, \u0041, or a character that stands for itself.
  char32_t character_escape() {
    const char32_t c = take_character();
    switch (c) {
      case 't':
        return '\t';
      case 'n':
        return '\n';
      case 'r':
        return '\r';
      case 'f':
        return '\f';
      case 'v':
        return '\v';
      case 'a':
        return '\a';
      case 'e':
        return 0x1B;
      case 'u':
        return hexadecimal(4, 4);
      case 'x': {
        if (!take("{")) return hexadecimal(rust_ ? 2 : 1, 2);
        const char32_t value = hexadecimal(1, 8);
        if (!take("}")) corrupt("{ has no }");
        return value;
      }
      default:
        break;
    }
    const bool is_name = c < 0x80 && ((c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z'));
    if (is_name) unsupported(fmt::format("\\{} is not supported", static_cast<char>(c)));
    return c;
  }

  // ---- classes ----

  // After the [: up to and with the ].
  CodeSet character_class(size_t depth) {
    if (depth > kMaxNesting) corrupt("it is nested too deeply");
    const bool negated = take("^");
    CodeSet all = CodeSet::all();
    std::vector<CodeRange> members;
    bool any = false;
    const auto add = [&](const CodeSet& set) {
      members.insert(members.end(), set.ranges().begin(), set.ranges().end());
      any = true;
    };
    for (;; any = true) {
      if (i_ == pattern_.size()) corrupt("a class has no ]");
      if (next_is("]")) {
        if (!any) corrupt("a class is empty");
        ++i_;
        break;
      }
      if (take("&&")) {
        all = all & CodeSet(std::move(members));
        members.clear();
      } else if (take("[:")) {
        add(posix_bracket());
      } else if (take("[")) {
        add(character_class(depth + 1));
      } else {
        class_member(members);
      }
    }
    const CodeSet set = all & CodeSet(std::move(members));
    return negated ? ~set : set;
  }

  CodeSet posix_bracket() {
    const bool negated = take("^");
    const size_t end = pattern_.find(":]", i_);
    const auto set = end == pattern_.npos ? std::nullopt : regex_posix_class(pattern_.substr(i_, end - i_), context());
    if (!set) unsupported("a class of the kind [:name:] is not known");
    i_ = end + 2;
    return negated ? ~*set : *set;
  }

  void class_member(std::vector<CodeRange>& members) {
    const auto first = class_character(members);
    if (!first) return;
    const bool range = next_is("-") && !next_is("-]") && i_ + 1 < pattern_.size();
    if (!range) return members.push_back({*first, *first});
    ++i_;
    std::vector<CodeRange> unused;
    const auto last = next_is("[") ? std::nullopt : class_character(unused);
    if (!last) unsupported("a range that ends in a class is not supported");
    if (*last < *first) corrupt("a range is empty");
    members.push_back({*first, *last});
  }

  // A character; or nothing for a class, whose members are added.
  std::optional<char32_t> class_character(std::vector<CodeRange>& members) {
    if (!next_is("\\")) return take_character();
    if (++i_ == pattern_.size()) corrupt("it ends in a backslash");
    if (const auto set = class_escape()) {
      members.insert(members.end(), set->ranges().begin(), set->ranges().end());
      return std::nullopt;
    }
    if (take("b")) return 0x08;
    return character_escape();
  }

  std::string_view pattern_;
  bool rust_;
  size_t i_ = 0;
  bool in_class_ = false;
  Options options_;
  std::vector<Group> groups_;
  std::optional<size_t> atom_;  // the item where what can be repeated begins
  std::u32string literals_;     // the literals just before, under (?i)
};

}  // namespace

TranslatedRegex translate_regex(std::string_view pattern, RegexDialect dialect) {
  Parser parser(pattern, dialect);
  parser.run();
  RegexAlphabet alphabet(parser.sets);
  if (!alphabet.complete()) {
    throw Error(ErrorCode::unsupported,
                fmt::format("tokenizer pattern `{}`: it names too many different characters", pattern));
  }
  std::string text;
  for (const Item& item : parser.items) {
    text += item.set < 0 ? item.text : alphabet.text(static_cast<size_t>(item.set));
  }
  return {std::move(text), std::move(alphabet.symbol_of)};
}

}  // namespace arc
