#include "text/jinja_lexer.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>

#include "base/utf8.h"
#include "text/jinja_text.h"
#include "text/jinja_unicode.h"

namespace arc::jinja {
namespace {

// Longer operators first.
constexpr std::array<std::string_view, 26> kOperators = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/",
                                                         "*",  "%",  "~",  "[",  "]",  "(",  ")", "{", "}",
                                                         ">",  "<",  "=",  ".",  ":",  "|",  ",", ";"};

bool is_ascii_digit(char c) {
  return c >= '0' && c <= '9';
}

int digit_value(char c) {
  if (is_ascii_digit(c)) return c - '0';
  const char lower = static_cast<char>(c | 0x20);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : 99;
}

std::string without_underscores(std::string_view digits) {
  std::string out(digits);
  std::erase(out, '_');
  return out;
}

// Python's unicode_escape, as Jinja applies it to string literals.
class Unescaper {
 public:
  Unescaper(std::string_view body, size_t offset) : body_(body), offset_(offset) {}

  std::string run() {
    while (at_ < body_.size()) {
      if (body_[at_] != '\\') {
        out_ += body_[at_++];
        continue;
      }
      ++at_;
      escape();
    }
    return std::move(out_);
  }

 private:
  void escape() {
    const char c = body_[at_];
    constexpr std::string_view kLetters = "abfnrtv\\'\"", kMeanings = "\a\b\f\n\r\t\v\\'\"";
    if (const size_t i = kLetters.find(c); i != std::string_view::npos) {
      out_ += kMeanings[i];
      ++at_;
    } else if (c == '\n') {
      ++at_;
    } else if (c == 'x' || c == 'u' || c == 'U') {
      ++at_;
      append(number(16, c == 'x' ? 2 : c == 'u' ? 4 : 8, true));
    } else if (c >= '0' && c <= '7') {
      append(number(8, 3, false));
    } else if (c == 'N') {
      throw SyntaxError{"character names (\\N{...}) are not supported; write \\uXXXX", offset_ + at_,
                        ErrorCode::unsupported};
    } else {
      out_ += '\\';
      if (static_cast<uint8_t>(c) >= 0x80) backslash_before_non_ascii();
    }
  }

  // Jinja escapes the characters beyond ASCII first, so that the backslash makes that escape literal.
  void backslash_before_non_ascii() {
    const auto c = static_cast<uint32_t>(utf8_decode(body_, at_));
    out_ += c < 0x100 ? fmt::format("x{:02x}", c) : c < 0x10000 ? fmt::format("u{:04x}", c) : fmt::format("U{:08x}", c);
  }

  uint32_t number(int base, int max_digits, bool exact) {
    uint32_t value = 0;
    int digits = 0;
    for (; digits < max_digits && at_ < body_.size() && digit_value(body_[at_]) < base; ++digits, ++at_) {
      value = value * static_cast<uint32_t>(base) + static_cast<uint32_t>(digit_value(body_[at_]));
    }
    if (exact && digits < max_digits) throw SyntaxError{"truncated escape in a string", offset_ + at_};
    return value;
  }

  void append(uint32_t c) {
    if (c > 0x10FFFF || (c >= 0xD800 && c < 0xE000)) {
      throw SyntaxError{"an escape in a string is no character", offset_ + at_};
    }
    utf8_append(out_, c);
  }

  std::string_view body_;
  size_t offset_;
  size_t at_ = 0;
  std::string out_;
};

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(source) {}

  std::vector<Token> run() {
    while (at_ < source_.size()) read_data();
    push(TokenKind::end, source_.size());
    return std::move(tokens_);
  }

 private:
  // Literal text up to the next tag, and that tag.
  void read_data() {
    const size_t start = at_;
    size_t tag = start;
    do {
      tag = source_.find('{', tag);
      if (tag == std::string_view::npos || tag + 1 == source_.size()) {
        push_data(source_.substr(start), start);
        at_ = source_.size();
        return;
      }
    } while (std::string_view("{%#").find(source_[tag + 1]) == std::string_view::npos && ++tag);
    const char type = source_[tag + 1];
    at_ = tag + 2;
    const char sign = read_sign();
    push_data(before_tag(start, tag, sign, type != '{'), start);
    if (type == '#') return skip_comment(tag);
    if (type == '%' && enter_raw()) return read_raw(tag);
    push(type == '{' ? TokenKind::variable_begin : TokenKind::block_begin, tag);
    type == '{' ? read_code(TokenKind::variable_end, "}}") : read_code(TokenKind::block_end, "%}");
  }

  char read_sign() {
    if (at_ < source_.size() && (source_[at_] == '-' || source_[at_] == '+')) return source_[at_++];
    return 0;
  }

  // The literal text in front of a tag, without the white space that the tag's sign or lstrip_blocks takes.
  std::string_view before_tag(size_t start, size_t tag, char sign, bool is_block) const {
    const std::string_view text = source_.substr(start, tag - start);
    if (sign == '-') return strip_text(text, std::nullopt, false, true);
    if (sign == '+' || !is_block) return text;
    const size_t line = text.rfind('\n') + 1;
    if (line == 0 && start > 0 && source_[start - 1] != '\n') return text;
    return strip_text(text.substr(line), std::nullopt, true, false).empty() ? text.substr(0, line) : text;
  }

  void skip_space() { at_ = source_.size() - strip_text(source_.substr(at_), std::nullopt, true, false).size(); }

  // Moves past the end of a tag at `at`: "-" takes the white space behind it, nothing takes one newline, "+" none.
  bool end_tag(size_t at, std::string_view close) {
    const char sign = at < source_.size() && (source_[at] == '-' || source_[at] == '+') ? source_[at] : 0;
    if (source_.substr(at + (sign != 0), close.size()) != close) return false;
    at_ = at + (sign != 0) + close.size();
    if (sign == '-') skip_space();
    if (sign == 0 && at_ < source_.size() && source_[at_] == '\n') ++at_;
    return true;
  }

  void skip_comment(size_t tag) {
    const size_t close = source_.find("#}", at_);
    if (close == std::string_view::npos) throw SyntaxError{"missing end of comment tag", tag};
    const bool sign = close > at_ && (source_[close - 1] == '-' || source_[close - 1] == '+');
    end_tag(close - sign, "#}");
  }

  bool take_word(std::string_view word) {
    skip_space();
    if (source_.substr(at_, word.size()) != word) return false;
    at_ += word.size();
    skip_space();
    return true;
  }

  // At "{%": moves past `raw %}` if that follows.
  bool enter_raw() {
    const size_t start = at_;
    if (take_word("raw")) {
      if (source_.substr(at_, 2) == "%}") {
        at_ += 2;
        return true;
      }
      if (source_.substr(at_, 3) == "-%}") {
        at_ += 3;
        skip_space();
        return true;
      }
    }
    at_ = start;
    return false;
  }

  void read_raw(size_t tag) {
    const size_t start = at_;
    for (size_t close = source_.find("{%", start); close != std::string_view::npos;
         close = source_.find("{%", close + 1)) {
      at_ = close + 2;
      const char sign = read_sign();
      if (!take_word("endraw") || !end_tag(at_, "%}")) continue;
      push_data(before_tag(start, close, sign, true), start);
      return;
    }
    throw SyntaxError{"missing end of raw directive", tag};
  }

  void read_code(TokenKind end_kind, std::string_view close) {
    std::string open_brackets;
    while (true) {
      const size_t start = at_;
      if (open_brackets.empty() && close_code(close)) {
        push(end_kind, start);
        return;
      }
      skip_space();
      if (at_ > start) continue;
      if (at_ >= source_.size()) throw SyntaxError{"unexpected end of template", at_};
      if (!read_number() && !read_name() && !read_string()) read_operator(open_brackets);
    }
  }

  // "}}" knows no "+" and takes no newline.
  bool close_code(std::string_view close) {
    if (close == "%}") return end_tag(at_, close);
    const bool sign = at_ < source_.size() && source_[at_] == '-';
    if (source_.substr(at_ + sign, 2) != close) return false;
    at_ += 2 + sign;
    if (sign) skip_space();
    return true;
  }

  // The end of digits, single underscores between them, from `at` on; `at` when there are none.
  size_t digits_end(size_t at, int base) const {
    size_t end = at;
    while (end < source_.size()) {
      const bool underscore = end > at && source_[end] == '_' && end + 1 < source_.size();
      if (digit_value(source_[end + underscore]) >= base) break;
      end += 1 + underscore;
    }
    return end;
  }

  std::optional<size_t> float_end() const {
    if (at_ > 0 && source_[at_ - 1] == '.') return std::nullopt;
    size_t end = digits_end(at_, 10);
    bool real = false;
    if (end < source_.size() && source_[end] == '.') {
      const size_t fraction = digits_end(end + 1, 10);
      real = fraction > end + 1;
      if (real) end = fraction;
    }
    if (end < source_.size() && (source_[end] | 0x20) == 'e') {
      const size_t first = end + 1 + (end + 1 < source_.size() && (source_[end + 1] == '+' || source_[end + 1] == '-'));
      const size_t exponent = digits_end(first, 10);
      if (exponent > first) return exponent;
    }
    return real ? std::optional(end) : std::nullopt;
  }

  bool read_number() {
    if (!is_ascii_digit(source_[at_])) return false;
    const size_t start = at_;
    if (const auto end = float_end()) {
      const std::string digits = without_underscores(source_.substr(start, *end - start));
      double number = 0;
      if (std::from_chars(digits.data(), digits.data() + digits.size(), number).ec != std::errc()) {
        throw SyntaxError{"a number is out of range", start};
      }
      at_ = *end;
      push(TokenKind::floating, start).number = number;
      return true;
    }
    read_integer();
    return true;
  }

  void read_integer() {
    const size_t start = at_;
    int base = 10;
    if (source_[at_] == '0' && at_ + 1 < source_.size()) {
      const char letter = static_cast<char>(source_[at_ + 1] | 0x20);
      const int other = letter == 'x' ? 16 : letter == 'o' ? 8 : letter == 'b' ? 2 : 10;
      const size_t first = at_ + 2 + (at_ + 2 < source_.size() && source_[at_ + 2] == '_');
      if (other != 10 && digits_end(first, other) > first) {
        base = other;
        at_ = first;
      }
    }
    // A decimal that starts with zero is nothing but zeros.
    const size_t end = digits_end(at_, base == 10 && source_[at_] == '0' ? 1 : base);
    const std::string digits = without_underscores(source_.substr(at_, end - at_));
    int64_t number = 0;
    if (std::from_chars(digits.data(), digits.data() + digits.size(), number, base).ec != std::errc()) {
      throw SyntaxError{"an integer does not fit in 64 bits", start};
    }
    at_ = end;
    push(TokenKind::integer, start).number = number;
  }

  bool read_name() {
    const size_t start = at_;
    while (at_ < source_.size()) {
      size_t next = at_;
      const char32_t c = utf8_decode(source_, next);
      if (c != '_' && !is_alpha(c) && (at_ == start || !is_numeric(c))) break;
      at_ = next;
    }
    if (at_ == start) return false;
    push(TokenKind::name, start).text = source_.substr(start, at_ - start);
    return true;
  }

  bool read_string() {
    const char quote = source_[at_];
    if (quote != '\'' && quote != '"') return false;
    const size_t start = at_ + 1;
    size_t end = start;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size()) throw SyntaxError{"a string has no end", at_};
    push(TokenKind::string, at_).text = Unescaper(source_.substr(start, end - start), start).run();
    at_ = end + 1;
    return true;
  }

  void read_operator(std::string& open_brackets) {
    const auto* op = std::ranges::find_if(kOperators, [&](auto o) { return source_.substr(at_, o.size()) == o; });
    if (op == kOperators.end()) {
      const size_t end = next_code_point(source_, at_);
      throw SyntaxError{fmt::format("unexpected char '{}'", source_.substr(at_, end - at_)), at_};
    }
    const char c = op->front();
    if (op->size() == 1 && (c == '(' || c == '[' || c == '{'))
      open_brackets += c == '(' ? ')' : static_cast<char>(c + 2);
    if (c == ')' || c == ']' || c == '}') {
      if (open_brackets.empty()) throw SyntaxError{fmt::format("unexpected '{}'", c), at_};
      if (open_brackets.back() != c) {
        throw SyntaxError{fmt::format("unexpected '{}', expected '{}'", c, open_brackets.back()), at_};
      }
      open_brackets.pop_back();
    }
    push(TokenKind::op, at_).text = *op;
    at_ += op->size();
  }

  Token& push(TokenKind kind, size_t offset) { return tokens_.emplace_back(Token{.kind = kind, .offset = offset}); }

  void push_data(std::string_view text, size_t offset) {
    if (!text.empty()) push(TokenKind::data, offset).text = text;
  }

  std::string_view source_;
  size_t at_ = 0;
  std::vector<Token> tokens_;
};

}  // namespace

std::string normalize_newlines(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      out += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      out += source[i];
    }
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

std::vector<Token> tokenize(std::string_view source) {
  return Lexer(source).run();
}

}  // namespace arc::jinja
