#include "text/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include "fmt/format.h"

#include "base/error.h"
#include "base/utf8.h"
#include "pcre2.h"

namespace arc {
namespace {

constexpr size_t kMaxPatternBytes = 64 << 10;
constexpr uint32_t kMatchLimit = 20'000'000;  // backtracking steps of one match
constexpr uint32_t kHeapLimitKib = 256 << 10;

// Members of Oniguruma's classes: White_Space, to which PCRE2 would add U+180E; and for \w alphabetic characters,
// marks, decimal digits, connectors and Latin-1's other numbers, of which PCRE2 would leave out marks.
constexpr std::string_view kSpace =
    R"(\x09-\x0d\x20\x85\xa0\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
constexpr std::string_view kNotSpace =
    R"(\x00-\x08\x0e-\x1f\x21-\x84\x86-\x9f\xa1-\x{167f}\x{1681}-\x{1fff}\x{200b}-\x{2027}\x{202a}-\x{202e})"
    R"(\x{2030}-\x{205e}\x{2060}-\x{2fff}\x{3001}-\x{10ffff})";
constexpr std::string_view kWord =
    R"(\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc}\xb2\xb3\xb9\xbc-\xbe\x{24b6}-\x{24e9}\x{1f130}-\x{1f149}\x{1f150}-\x{1f169}\x{1f170}-\x{1f189})";
constexpr std::string_view kHex = "0-9A-Fa-f";

[[noreturn]] void reject(ErrorCode code, std::string_view pattern, std::string_view why) {
  throw Error(code, fmt::format("tokenizer pattern `{}`: {}", pattern, why));
}

// One pass over the pattern. Everything not named here means the same in both dialects.
class Translator {
 public:
  explicit Translator(std::string_view pattern) : pattern_(pattern) {}

  std::string run() {
    while (i_ < pattern_.size()) {
      if (pattern_[i_] == '\\') {
        escape();
      } else if (pattern_[i_] == '[') {
        open_class();
      } else if (in_class_ && pattern_[i_] == ']') {
        in_class_ = false;
        take(1);
      } else if (in_class_) {
        if (next_is("&&")) reject(ErrorCode::unsupported, pattern_, "class intersection && is not supported");
        take(1);
      } else if (next_is("(")) {
        open_group();
      } else if (next_is("{")) {
        interval();
      } else {
        take(1);
      }
    }
    return out_;
  }

 private:
  bool next_is(std::string_view text) const { return pattern_.substr(i_).starts_with(text); }

  void take(size_t n) {
    out_ += pattern_.substr(i_, n);
    i_ += n;
  }

  void class_escape(std::string_view members, bool negated) {
    if (!in_class_) {
      out_ += fmt::format("[{}{}]", negated ? "^" : "", members);
    } else if (!negated) {
      out_ += members;
    } else {
      reject(ErrorCode::unsupported, pattern_, "a negated class inside a class is not supported");
    }
  }

  void escape() {
    if (i_ + 1 == pattern_.size()) reject(ErrorCode::corrupt_data, pattern_, "it ends in a backslash");
    const char c = pattern_[i_ + 1];
    i_ += 2;
    switch (c) {
      case 's':
        return class_escape(kSpace, false);
      case 'S':
        return class_escape(in_class_ ? kNotSpace : kSpace, !in_class_);
      case 'w':
      case 'W':
        return class_escape(kWord, c == 'W');
      case 'h':
      case 'H':
        return class_escape(kHex, c == 'H');
      case 'u':
        if (i_ + 4 > pattern_.size()) reject(ErrorCode::corrupt_data, pattern_, "\\u needs four hexadecimal digits");
        out_ += fmt::format("\\x{{{}}}", pattern_.substr(i_, 4));
        i_ += 4;
        return;
      case 'p':
      case 'P':
      case 'x':
        return braces(c);
      default:
        i_ -= 2;
        return take(2);
    }
  }

  // The {...} of \p{L} or \x{41}. The name of a script means its own characters, not those it shares (PCRE2's default).
  void braces(char escaped) {
    out_ += {'\\', escaped};
    if (!next_is("{")) return;
    const size_t end = pattern_.find('}', i_);
    if (end == std::string_view::npos) reject(ErrorCode::corrupt_data, pattern_, "{ has no }");
    const bool negated = pattern_.substr(i_ + 1).starts_with('^');
    const size_t name = i_ + (negated ? 2 : 1);
    take(name - i_);
    if (escaped != 'x' && end - name > 2) out_ += "sc:";  // general categories have one or two letters
    take(end + 1 - i_);
  }

  void open_class() {
    if (in_class_) reject(ErrorCode::unsupported, pattern_, "a class inside a class is not supported");
    in_class_ = true;
    take(1);
    if (next_is("^")) take(1);
    if (next_is("]")) reject(ErrorCode::corrupt_data, pattern_, "a class is empty");
  }

  void open_group() {
    if (next_is("(*")) reject(ErrorCode::corrupt_data, pattern_, "nothing to repeat after (");
    take(1);
    if (!next_is("?")) return;
    take(1);
    // Option letters up to ':' or ')'. Here `m` lets the dot match newlines, which PCRE2 calls `s`.
    size_t end = i_;
    while (end < pattern_.size() && std::string_view("imx-").find(pattern_[end]) != std::string_view::npos) ++end;
    if (end == pattern_.size() || (pattern_[end] != ':' && pattern_[end] != ')')) return;
    for (; i_ < end; ++i_) out_ += pattern_[i_] == 'm' ? 's' : pattern_[i_];
  }

  void interval() {
    const size_t end = pattern_.find('}', i_);
    if (end != std::string_view::npos && pattern_.substr(end + 1).starts_with('+')) {
      reject(ErrorCode::unsupported, pattern_, "a repeated interval {n,m}+ is not supported");
    }
    take(1);
    if (next_is(",")) out_ += '0';
  }

  std::string_view pattern_;
  size_t i_ = 0;
  bool in_class_ = false;
  std::string out_;
};

template <auto free_function>
struct Freer {
  template <typename T>
  void operator()(T* object) const {
    free_function(object);
  }
};
using MatchData = std::unique_ptr<pcre2_match_data, Freer<pcre2_match_data_free>>;
using CompileContext = std::unique_ptr<pcre2_compile_context, Freer<pcre2_compile_context_free>>;

}  // namespace

struct CompiledRegex {
  std::string pattern;
  std::unique_ptr<pcre2_code, Freer<pcre2_code_free>> code;
  std::unique_ptr<pcre2_match_context, Freer<pcre2_match_context_free>> context;
};

std::string translate_oniguruma(std::string_view pattern) {
  return Translator(pattern).run();
}

Regex::Regex(std::string_view pattern) {
  if (pattern.size() > kMaxPatternBytes) {
    throw Error(ErrorCode::corrupt_data,
                fmt::format("a tokenizer pattern has {} bytes; the limit is {}", pattern.size(), kMaxPatternBytes));
  }
  const std::string translated = translate_oniguruma(pattern);
  const CompileContext context(pcre2_compile_context_create(nullptr));
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  pcre2_set_parens_nest_limit(context.get(), 100);
  int error = 0;
  PCRE2_SIZE where = 0;
  auto compiled = std::make_shared<CompiledRegex>();
  compiled->pattern = pattern;
  // Oniguruma's ^ and $ always match at lines.
  compiled->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                                     PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error, &where,
                                     context.get()));
  if (!compiled->code) {
    PCRE2_UCHAR text[256] = {};
    pcre2_get_error_message(error, text, sizeof text);
    reject(ErrorCode::corrupt_data, pattern, reinterpret_cast<const char*>(text));
  }
  pcre2_jit_compile(compiled->code.get(), PCRE2_JIT_COMPLETE);  // without a JIT the interpreter gives the same matches
  compiled->context.reset(pcre2_match_context_create(nullptr));
  pcre2_set_match_limit(compiled->context.get(), kMatchLimit);
  pcre2_set_heap_limit(compiled->context.get(), kHeapLimitKib);
  compiled_ = std::move(compiled);
}

std::vector<Span> Regex::find_all(std::string_view text) const {
  const pcre2_code* code = compiled_->code.get();
  pcre2_match_context* context = compiled_->context.get();  // not written by matching
  const MatchData data(pcre2_match_data_create_from_pattern(code, nullptr));
  const auto match_at = [&](size_t offset, uint32_t options) {
    return pcre2_match(code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), offset,
                       PCRE2_NO_UTF_CHECK | options, data.get(), context);
  };
  std::vector<Span> matches;
  for (size_t offset = 0; offset <= text.size();) {
    int rc = match_at(offset, 0);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT) rc = match_at(offset, PCRE2_NO_JIT);
    if (rc == PCRE2_ERROR_NOMATCH) break;
    if (rc < 0) {
      throw Error(ErrorCode::resource,
                  fmt::format("tokenizer pattern `{}` needs too much backtracking on this text", compiled_->pattern));
    }
    const PCRE2_SIZE* range = pcre2_get_ovector_pointer(data.get());
    const Span found{range[0], range[1]};
    const bool empty = found.begin == found.end;
    if (!empty || matches.empty() || matches.back().end != found.begin) matches.push_back(found);
    offset = found.end;
    if (!empty) continue;
    if (offset == text.size()) break;
    utf8_decode(text, offset);
  }
  return matches;
}

}  // namespace arc
