#include "text/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include "fmt/format.h"

#include "base/error.h"
#include "base/utf8.h"
#include "pcre2.h"

namespace arc {
namespace {

constexpr size_t kMaxPatternBytes = 16 << 10;
constexpr uint32_t kMatchLimit = 20'000'000;  // backtracking steps of one match
constexpr uint32_t kHeapLimitKib = 256 << 10;
constexpr uint32_t kMaxNesting = 1000;  // of the translated pattern

template <auto free_function>
struct Freer {
  template <typename T>
  void operator()(T* object) const {
    free_function(object);
  }
};
using MatchData = std::unique_ptr<pcre2_match_data, Freer<pcre2_match_data_free>>;
using CompileContext = std::unique_ptr<pcre2_compile_context, Freer<pcre2_compile_context_free>>;

// Moves `at` past n characters.
size_t skip_characters(std::string_view text, size_t at, size_t n) {
  for (; n > 0; --n) {
    ++at;
    while (at < text.size() && (text[at] & 0xC0) == 0x80) ++at;
  }
  return at;
}

}  // namespace

struct CompiledRegex {
  std::string pattern;
  CodePointTable<uint8_t> symbol_of;
  std::unique_ptr<pcre2_code, Freer<pcre2_code_free>> code;
  std::unique_ptr<pcre2_match_context, Freer<pcre2_match_context_free>> context;

  // One symbol per character.
  std::string symbols(std::string_view text) const {
    std::string out;
    out.reserve(text.size());
    for (size_t i = 0; i < text.size();) {
      const auto byte = static_cast<uint8_t>(text[i]);
      out += static_cast<char>(symbol_of[byte < 0x80 ? (++i, byte) : utf8_decode(text, i)]);
    }
    return out;
  }
};

Regex::Regex(std::string_view pattern, RegexDialect dialect) {
  if (pattern.size() > kMaxPatternBytes) {
    throw Error(ErrorCode::corrupt_data,
                fmt::format("a tokenizer pattern has {} bytes; the limit is {}", pattern.size(), kMaxPatternBytes));
  }
  auto [translated, symbol_of] = translate_regex(pattern, dialect);
  const CompileContext context(pcre2_compile_context_create(nullptr));
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  pcre2_set_parens_nest_limit(context.get(), kMaxNesting);
  int error = 0;
  PCRE2_SIZE where = 0;
  auto compiled = std::make_shared<CompiledRegex>();
  compiled->pattern = pattern;
  compiled->symbol_of = std::move(symbol_of);
  // ^ and $ that match at lines come through as they are.
  compiled->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                                     PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error, &where, context.get()));
  if (!compiled->code) {
    PCRE2_UCHAR text[256] = {};
    pcre2_get_error_message(error, text, sizeof text);
    throw Error(ErrorCode::corrupt_data,
                fmt::format("tokenizer pattern `{}`: {}", pattern, reinterpret_cast<const char*>(text)));
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
  const std::string symbols = compiled_->symbols(text);
  const bool is_ascii = symbols.size() == text.size();
  const MatchData data(pcre2_match_data_create_from_pattern(code, nullptr));
  const auto match_at = [&](size_t offset, uint32_t options) {
    return pcre2_match(code, reinterpret_cast<PCRE2_SPTR>(symbols.data()), symbols.size(), offset, options, data.get(),
                       context);
  };
  std::vector<Span> matches;
  size_t last_end = SIZE_MAX, done = 0, done_in_text = 0;
  const auto to_text = [&](size_t position) {  // positions come in order
    if (is_ascii) return position;
    done_in_text = skip_characters(text, done_in_text, position - done);
    done = position;
    return done_in_text;
  };
  for (size_t offset = 0; offset <= symbols.size();) {
    int rc = match_at(offset, 0);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT) rc = match_at(offset, PCRE2_NO_JIT);
    if (rc == PCRE2_ERROR_NOMATCH) break;
    if (rc < 0) {
      throw Error(ErrorCode::resource,
                  fmt::format("tokenizer pattern `{}` needs too much backtracking on this text", compiled_->pattern));
    }
    const PCRE2_SIZE* range = pcre2_get_ovector_pointer(data.get());
    const size_t begin = range[0], end = range[1];
    if (begin < end || begin != last_end) {
      const size_t begin_in_text = to_text(begin);
      matches.push_back({begin_in_text, to_text(end)});
      last_end = end;
    }
    offset = begin < end ? end : end + 1;
  }
  return matches;
}

}  // namespace arc
