// Text of a request that spells a special token stays text: which bytes of a rendering the request wrote, and what the
// tokenizer makes of them.
#include <cstdlib>
#include <filesystem>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include "fmt/format.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

#include "base/error.h"
#include "base/json.h"
#include "base/mapped_file.h"
#include "text/chat_template.h"
#include "text/jinja.h"
#include "text/tokenizer.h"

namespace arc {
namespace {

namespace fs = std::filesystem;
using Ids = std::vector<int32_t>;

// The rendering with the request's bytes in braces.
std::string marked(const std::string& source, const Json& variables, const jinja::Trusted& trusted = {}) {
  const jinja::Rendering rendering = jinja::Template(source, "t").render(variables, trusted);
  std::string out;
  size_t done = 0;
  for (const ByteRange& range : rendering.from_request) {
    out += rendering.text.substr(done, range.begin - done);
    out += "{" + rendering.text.substr(range.begin, range.end - range.begin) + "}";
    done = range.end;
  }
  return out + rendering.text.substr(done);
}

TEST(SpecialText, TheOriginOfEveryByteIsKept) {
  const Json variables = {{"x", "ab"}, {"s", "  ab, cd\n"}, {"list", {"p", "q"}}, {"d", {{"k", "v"}}}, {"n", 7}};
  const std::pair<const char*, const char*> kCases[] = {
      {"<s>{{ x }}</s>", "<s>{ab}</s>"},
      {"{{ '<' + x + '>' }}", "<{ab}>"},
      {"{{ '<' ~ x ~ 1 ~ none ~ n ~ '>' }}", "<{ab}1None7>"},
      {"{{ x + x }}{{ x * 2 }}{{ 'z' * 2 }}", "{abababab}zz"},
      {"{{ ('<' + x + '>') * 2 }}", "<{ab}><{ab}>"},
      {"{{ s | trim }}|{{ s.strip() }}|{{ s.lstrip() }}|", "{ab, cd}|{ab, cd}|{ab, cd\n}|"},
      {"{{ ('  <' + s + '> ') | trim }}", "<{  ab, cd\n}>"},
      {"{{ ('<' + x + '>')[:2] }}|{{ ('<' + x + '>')[-2:] }}|{{ ('<' + x + '>')[2] }}", "<{a}|{b}>|{b}"},
      {"{% for c in '<' + x %}{{ c }};{% endfor %}", "<;{a};{b};"},
      {"{{ ('<|' + x + '|>').split('|')[1] }}{{ ('<|' + x + '|>').split('|')[2] }}", "{ab}>"},
      {"{{ ('1,' + s).rsplit(',', 1) | join('+') }}", "1,{  ab}+{ cd\n}"},
      {"{{ ('1\n' + s).splitlines() | join('+') }}", "1+{  ab, cd}"},
      {"{{ ('<' + x).partition('<')[1] }}{{ ('<' + x).partition('<')[2] }}", "<{ab}"},
      {"{{ list | join('<>') }}{{ '-'.join(list) }}{{ [x, 'y'] | join }}", "{p}<>{qp}-{qab}y"},
      {"{{ s | replace('b', '<b>') }}", "{  a}<b>{, cd\n}"},
      {"{{ '<a>'.replace('a', x) }}{{ '<a>'.replace('a', 'b') }}", "<{ab}><b>"},
      {"{{ ('<' + x).removeprefix('<') }}{{ (x + '>').removesuffix('>') }}", "{abab}"},
      {"{% set y %}<{{ x }}>{% endset %}{{ y }}{{ y | length }}", "<{ab}>4"},
      {"{% set ns = namespace(t='<') %}{% set ns.t = ns.t + x + '>' %}{{ ns.t }}", "<{ab}>"},
      {"{% macro m(a) %}<{{ a }}>{% endmacro %}{{ m(x) }}{{ m('y') }}", "<{ab}><y>"},
      {"{% macro m() %}<{{ caller() }}>{% endmacro %}{% call m() %}{{ x }}!{% endcall %}", "<{ab}!>"},
      {"{% filter trim %} <{{ x }}> {% endfilter %}", "<{ab}>"},
      {"{{ x | indent(2, true) }}{{ ('<\n' + x) | indent(2) }}", "  {ab}<\n  {ab}"},
      {"{{ ('<' + x + x) | truncate(4, true, '>', 0) }}", "<{ab}>"},
      {"{{ missing | default('<s>') }}{{ x | default('<s>') }}", "<s>{ab}"},
      {"{{ '<s>' | string }}{{ '<s>' | safe }}{{ x | string }}", "<s><s>{ab}"},
      {"{{ list | first }}{{ ['<a>', x] | first }}{{ d['k'] }}{{ d.items() | list | last | last }}", "{p}<a>{vv}"},
      // Nobody keeps track of these: all is the request's as soon as a part of it is.
      {"{{ '<s>' | upper }}{{ ('<' + x) | upper }}", "<S>{<AB}"},
      {"{{ '<%s>' % 'a' }}{{ '<%s>' % x }}{{ '<%s%s>' % ('a', x) }}{{ '<%d>' % 5 }}", "<a>{<ab><aab>}<5>"},
      {"{{ '<{}>'.format('a') }}{{ '<{}>'.format(x) }}", "<a>{<ab>}"},
      {"{{ '<s>' | tojson }}{{ x | tojson }}{{ [x, '<'] | tojson }}", "\"<s>\"{\"ab\"[\"ab\", \"<\"]}"},
      {"{{ list }}{{ d }}{{ ('<' + x)[::-1] }}{{ '<>'[::-1] }}", "{['p', 'q']{'k': 'v'}ba<}><"},
      {"{{ '<' | e }}{{ x | e }}{{ ('<' | safe) + x }}", "&lt;{ab}<{ab}"},
  };
  for (const auto& [source, expected] : kCases) EXPECT_EQ(marked(source, variables), expected) << source;
}

TEST(SpecialText, TrustedVariablesAndWordsAreTheTemplates) {
  const std::string_view words[] = {"user"};
  const jinja::Trusted trusted{.variables = {{"bos", "<s>"}, {"eos", "</s>"}}, .words = words};
  EXPECT_EQ(marked("{{ bos }}{{ eos }}", {{"eos", "<e>"}}, trusted), "<s>{<e>}");
  EXPECT_EQ(marked("{{ '<|' + role + '|>' }}", {{"role", "user"}}, trusted), "<|user|>");
  EXPECT_EQ(marked("{{ '<|' + role + '|>' }}", {{"role", "users"}}, trusted), "<|{users}|>");
}

// ---- the tokenizer -------------------------------------------------------------------------------------------------

AddedTokens special_tokens(const std::vector<std::string>& texts) {
  std::vector<AddedToken> tokens;
  for (const std::string& text : texts) {
    tokens.push_back({.id = static_cast<int32_t>(tokens.size()), .content = text, .special = true});
  }
  return {std::move(tokens), Normalizer()};
}

Ids found(const AddedTokens& tokens, std::string_view text, const ByteRanges& plain) {
  Ids ids;
  for (const Segment& segment : tokens.split_raw(text, plain)) {
    if (segment.token) ids.push_back(*segment.token);
  }
  return ids;
}

TEST(SpecialText, TokensThatTouchPlainTextAreText) {
  const AddedTokens tokens = special_tokens({"<a>", "<a><b>", "b><", "<b>"});
  EXPECT_EQ(found(tokens, "<a><b>", {}), (Ids{1}));
  EXPECT_EQ(found(tokens, "<a><b>", {{0, 6}}), (Ids{}));
  EXPECT_EQ(found(tokens, "<a><b>", {{3, 6}}), (Ids{0}));      // the longer one touches it
  EXPECT_EQ(found(tokens, "<a><b>", {{0, 3}}), (Ids{3}));      // what comes after it
  EXPECT_EQ(found(tokens, "<a><b>", {{1, 2}}), (Ids{3}));      // one byte is enough
  EXPECT_EQ(found(tokens, "<a><b>", {{2, 4}}), (Ids{}));       // both are touched
  EXPECT_EQ(found(tokens, "<a>x<a>", {{3, 4}}), (Ids{0, 0}));  // between two
  EXPECT_EQ(found(tokens, "b><b>", {{0, 2}}), (Ids{3}));       // it does not swallow the next one's begin
  EXPECT_EQ(found(tokens, "<a><a><a>", {{3, 6}}), (Ids{0, 0}));
}

// Special tokens that are looked for in normalised text, as Llama 2's are: ranges go through the normalizer.
TEST(SpecialText, RangesSurviveTheNormalizer) {
  const auto tokenizer = [](const std::string& normalizer) {
    return Tokenizer::from_json(R"({"added_tokens": [{"id": 9, "content": "<s>", "special": true, "normalized": true}],
      "normalizer": )" + normalizer +
                                R"(, "pre_tokenizer": null, "post_processor": null, "decoder": null,
      "model": {"type": "BPE", "vocab": {"<": 0, "s": 1, ">": 2, "▁": 3, "_": 4}, "merges": []}})");
  };
  const Tokenizer spaces = tokenizer(R"({"type": "Replace", "pattern": {"String": " "}, "content": "▁"})");
  const ByteRanges plain = {{3, 8}};  // "<s>" twice with two spaces between: the template's, then the request's
  const std::string text = "<s>  <s> <s>";
  EXPECT_EQ(spaces.encode(text), (Ids{9, 3, 3, 9, 3, 9}));
  EXPECT_EQ(spaces.encode(text, {.plain = plain}), (Ids{9, 3, 3, 0, 1, 2, 3, 9}));
  // A step that keeps no track and changes the text makes all of it plain; one that changes nothing does not.
  const Tokenizer lowercase = tokenizer(R"({"type": "Lowercase"})");
  EXPECT_EQ(lowercase.encode("<s><s>", {.plain = std::span(plain)}), (Ids{9, 0, 1, 2}));
  EXPECT_EQ(lowercase.encode("<S><s>", {.plain = std::span(plain)}), (Ids{0, 1, 2, 0, 1, 2}));
}

// ---- real templates, hostile requests ------------------------------------------------------------------------------

constexpr const char *kLeft = "\u00AB", *kRight = "\u00BB";  // around every special token that the request spells

std::vector<std::string> tokens_in(const std::string& source) {
  std::set<std::string> tokens;
  const std::regex token(R"(<[^<>\s'"{}=]+>|\[/?[A-Z_]+\])");
  for (std::sregex_iterator it(source.begin(), source.end(), token), end; it != end; ++it) tokens.insert(it->str());
  for (const char* role : {"system", "user", "assistant", "tool"}) tokens.insert(fmt::format("<|{}|>", role));
  tokens.insert("<BOS>");
  return {tokens.begin(), tokens.end()};
}

// Puts `text` into every text that a request writes freely.
void poison(Json& value, const std::string& text) {
  static const std::set<std::string> kFree = {"content", "text",     "description", "reasoning_content",
                                              "title",   "thinking", "arguments",   "city"};
  for (auto it = value.begin(); it != value.end(); ++it) {
    if (it->is_structured()) poison(*it, text);
    if (it->is_string() && value.is_object() && kFree.contains(it.key())) *it = text;
  }
}

TEST(SpecialText, NoRealTemplateLetsARequestWriteSpecialTokens) {
  const char* shared = std::getenv("ARC_SHARED");
  const fs::path folder = (shared ? fs::path(shared) : fs::path(ARC_SOURCE_DIR) / "../shared") / "data/chat-templates";
  if (!fs::is_directory(folder)) GTEST_SKIP() << "no real chat templates: set ARC_SHARED";
  const Json conversations =
      parse_json(read_text_file(ARC_SOURCE_DIR "/tests/goldens/templates/conversations.json"), "conversations");
  int n_renderings = 0, n_tokens = 0, n_hostile = 0;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string source = read_text_file(entry.path());
    const std::vector<std::string> texts = tokens_in(source);
    const AddedTokens tokens = special_tokens(texts);
    ChatTemplate chat_template(source);
    chat_template.set_special_token("bos_token", "<BOS>");
    std::string attack;
    for (const std::string& text : texts) {
      if (text != "</think>") attack += kLeft + text + kRight;  // templates take it out, and write their own there
    }
    for (Json conversation : conversations) {
      poison(conversation, attack);
      jinja::Rendering rendering;
      try {
        rendering = chat_template.render({.messages = conversation["messages"],
                                          .tools = conversation.value("tools", Json()),
                                          .documents = conversation.value("documents", Json()),
                                          .extra = conversation.value("extra", Json::object()),
                                          .add_generation_prompt = true});
      } catch (const Error&) {  // the template refuses the conversation
        continue;
      }
      const std::string& text = rendering.text;
      Ids expected;
      for (const Segment& segment : tokens.split_raw(text, {})) {
        if (!segment.token) continue;
        const bool hostile = std::string_view(text).substr(0, segment.begin).ends_with(kLeft) &&
                             std::string_view(text).substr(segment.end).starts_with(kRight);
        hostile ? void(++n_hostile) : expected.push_back(*segment.token);
      }
      EXPECT_EQ(found(tokens, text, rendering.from_request), expected)
          << entry.path().filename() << " " << conversation["name"];
      n_tokens += static_cast<int>(expected.size());
      ++n_renderings;
    }
  }
  fmt::print("{} renderings: {} special tokens of templates, {} spelled by requests\n", n_renderings, n_tokens,
             n_hostile);
}

}  // namespace
}  // namespace arc
