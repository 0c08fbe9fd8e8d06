// Templates against transformers' own renderings: small ones for every construct, and real models' when ARC_SHARED has
// them. tools/make_template_golden.py makes the expectations.
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>

#include "fmt/format.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

#include "base/error.h"
#include "base/json.h"
#include "base/mapped_file.h"
#include "base/utf8.h"
#include "text/chat_template.h"
#include "text/jinja.h"
#include "text/jinja_text.h"
#include "text/jinja_unicode.h"

namespace arc {
namespace {

namespace fs = std::filesystem;

const fs::path kGoldens = fs::path(ARC_SOURCE_DIR) / "tests/goldens/templates";

Json read_golden(const char* name) {
  return parse_json(read_text_file(kGoldens / name), name);
}

std::string fnv1a(std::string_view text) {
  uint64_t value = 0xCBF29CE484222325;
  for (const char c : text) value = (value ^ static_cast<uint8_t>(c)) * 0x100000001B3;
  return fmt::format("{:016x}", value);
}

// 2024-07-06 13:04:56, a Saturday.
std::tm pinned_clock() {
  return {.tm_sec = 56,
          .tm_min = 4,
          .tm_hour = 13,
          .tm_mday = 6,
          .tm_mon = 6,
          .tm_year = 124,
          .tm_wday = 6,
          .tm_yday = 187};
}

// What a rendering gives: "text", "raised" (by the template) or "error", and the text.
struct Outcome {
  std::string kind;
  std::string text;
};

Outcome render(const std::string& source, const ChatInput& input) {
  try {
    ChatTemplate chat_template(source);
    chat_template.set_special_token("bos_token", "<BOS>");
    chat_template.set_special_token("eos_token", "<EOS>");
    chat_template.set_special_token("unk_token", "<UNK>");
    chat_template.set_special_token("pad_token", "<PAD>");
    return {"text", chat_template.render(input, pinned_clock).text};
  } catch (const jinja::RaisedError& e) {
    return {"raised", e.what()};
  } catch (const Error& e) {
    return {"error", e.what()};
  }
}

TEST(JinjaGolden, EveryConstructRendersAsPythonDoes) {
  const Json golden = read_golden("snippets.json");
  for (const Json& snippet : golden["snippets"]) {
    ChatInput input{.messages = Json::array(), .extra = golden["variables"]};
    if (snippet.contains("variables")) input.extra.update(snippet["variables"]);
    const auto source = snippet["template"].get<std::string>();
    const Outcome outcome = render(source, input);
    const auto name = snippet["name"].get<std::string>();
    ASSERT_TRUE(snippet.contains(outcome.kind))
        << name << "\n"
        << source << "\nwe: " << outcome.kind << " " << outcome.text << "\nPython: " << snippet.dump();
    if (outcome.kind == "error") {
      EXPECT_NE(outcome.text.find("line "), std::string::npos) << name << ": " << outcome.text;
    } else {
      EXPECT_EQ(outcome.text, snippet[outcome.kind].get<std::string>()) << name << "\n" << source;
    }
  }
}

// The tables against the Python that they were made from, over all code points.
TEST(JinjaGolden, UnicodeTablesArePythons) {
  const Json golden = read_golden("unicode.json");
  const auto over_all = [](auto append) {
    std::string all;
    for (char32_t c = 0; c <= 0x10FFFF; ++c) {
      if (c < 0xD800 || c > 0xDFFF) append(all, c);
    }
    return fnv1a(all);
  };
  const auto classes = [&over_all](bool (*is)(char32_t)) {
    return over_all([is](std::string& all, char32_t c) { all += is(c) ? '1' : '0'; });
  };
  EXPECT_EQ(classes(jinja::is_alpha), golden["isalpha"].get<std::string>());
  EXPECT_EQ(classes(jinja::is_decimal), golden["isdecimal"].get<std::string>());
  EXPECT_EQ(classes(jinja::is_digit), golden["isdigit"].get<std::string>());
  EXPECT_EQ(classes(jinja::is_numeric), golden["isnumeric"].get<std::string>());
  EXPECT_EQ(classes(jinja::is_printable), golden["isprintable"].get<std::string>());
  EXPECT_EQ(classes(jinja::is_lower), golden["islower"].get<std::string>());
  EXPECT_EQ(classes(jinja::is_upper), golden["isupper"].get<std::string>());
  EXPECT_EQ(classes(jinja::is_space), golden["isspace"].get<std::string>());
  EXPECT_EQ(over_all(jinja::append_upper), golden["upper"].get<std::string>());
  EXPECT_EQ(over_all(jinja::append_lower), golden["lower"].get<std::string>());
  EXPECT_EQ(over_all(jinja::append_title), golden["title"].get<std::string>());
  const auto sigma = [](std::string& all, char32_t code_point) {
    std::string c;
    utf8_append(c, code_point);
    all += jinja::lower_text("a" + c + "\u03A3" + c + "1" + c + "\u03A3");
  };
  EXPECT_EQ(over_all(sigma), golden["sigma"].get<std::string>());
}

// "text 120 0123456789abcdef": what real.json says of a case.
std::string summary(const Outcome& outcome) {
  if (outcome.kind == "error") return "error";
  return fmt::format("{} {} {}", outcome.kind, outcome.text.size(), fnv1a(outcome.text));
}

TEST(JinjaGolden, RealTemplatesRenderAsPythonDoes) {
  const char* shared = std::getenv("ARC_SHARED");
  const fs::path folder = (shared ? fs::path(shared) : fs::path(ARC_SOURCE_DIR) / "../shared") / "data/chat-templates";
  if (!fs::is_directory(folder)) GTEST_SKIP() << "no real chat templates: set ARC_SHARED";
  const Json conversations = read_golden("conversations.json");
  int n_renderings = 0, n_templates = 0;
  const Json real = read_golden("real.json");
  for (const auto& [file, golden] : real.items()) {
    if (!fs::exists(folder / file)) continue;
    const std::string source = read_text_file(folder / file);
    ASSERT_EQ(fnv1a(source), golden["template"].get<std::string>()) << file << " is not the one that real.json is for";
    ++n_templates;
    for (const Json& conversation : conversations) {
      ChatInput input{.messages = conversation["messages"],
                      .tools = conversation.value("tools", Json()),
                      .documents = conversation.value("documents", Json()),
                      .extra = conversation.value("extra", Json::object())};
      for (const bool prompt : {false, true}) {
        input.add_generation_prompt = prompt;
        const Outcome outcome = render(source, input);
        const std::string key = conversation["name"].get<std::string>() + (prompt ? "+prompt" : "");
        EXPECT_EQ(summary(outcome), golden["cases"][key].get<std::string>()) << file << " " << key << "\n"
                                                                             << outcome.text;
        ++n_renderings;
      }
    }
  }
  fmt::print("{} templates, {} renderings compared\n", n_templates, n_renderings);
}

}  // namespace
}  // namespace arc
