#include "text/pattern.h"

#include "fmt/format.h"

#include "base/error.h"
#include "base/utf8.h"

namespace arc {
namespace {

std::vector<Span> find_literal(const std::string& literal, std::string_view text) {
  std::vector<Span> matches;
  for (size_t at = text.find(literal); at != text.npos; at = text.find(literal, at + literal.size())) {
    matches.push_back({at, at + literal.size()});
  }
  return matches;
}

std::vector<Span> find_characters(CharTest test, std::string_view text) {
  std::vector<Span> matches;
  for (size_t i = 0; i < text.size();) {
    const size_t begin = i;
    if (test(utf8_decode(text, i))) matches.push_back({begin, i});
  }
  return matches;
}

}  // namespace

std::vector<Span> find_matches(const Pattern& pattern, std::string_view text) {
  if (const auto* literal = std::get_if<std::string>(&pattern)) return find_literal(*literal, text);
  if (const auto* regex = std::get_if<Regex>(&pattern)) return regex->find_all(text);
  return find_characters(std::get<CharTest>(pattern), text);
}

void fail_growth() {
  throw Error(ErrorCode::resource, "the tokenizer's normalizer makes the text too long");
}

std::string replace_matches(const Pattern& pattern, std::string_view text, std::string_view replacement,
                            size_t max_bytes) {
  const std::vector<Span> matches = find_matches(pattern, text);
  if (!replacement.empty() && matches.size() > max_bytes / replacement.size()) fail_growth();
  std::string out;
  out.reserve(text.size());
  size_t kept = 0;
  for (const Span& match : matches) {
    out.append(text, kept, match.begin - kept).append(replacement);
    kept = match.end;
  }
  return out.append(text, kept);
}

Pattern read_pattern(const JsonFields& fields) {
  const JsonFields pattern(fields.at("pattern"), fields.where() + " pattern");
  const bool literal = pattern.find("String") != nullptr;
  std::string text = pattern.text(literal ? "String" : "Regex");
  if (text.empty()) pattern.fail("is empty");
  if (literal) return text;
  return Regex(text);
}

std::string read_character(const JsonFields& fields, const char* key) {
  std::string text = fields.text(key);
  if (text.empty() || utf8_sequence_length(text) != text.size())
    fields.fail(fmt::format("`{}` must be one character", key));
  return text;
}

}  // namespace arc
