// Tests of which template a model uses, and of what it is given. The renderings themselves: jinja_golden_test.cc.
#include "text/chat_template.h"

#include <filesystem>
#include <fstream>
#include <string>

#include "gtest/gtest.h"

#include "base/error.h"

namespace arc {
namespace {

namespace fs = std::filesystem;

class ChatTemplateFolder : public testing::Test {
 protected:
  ChatTemplateFolder() {
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    folder_ = fs::temp_directory_path() / (std::string("arc_chat_template_") + test->name());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  ~ChatTemplateFolder() override { fs::remove_all(folder_); }

  void write(const std::string& name, std::string_view text) const {
    fs::create_directories((folder_ / name).parent_path());
    std::ofstream(folder_ / name) << text;
  }

  // The prompt for one user message "hi".
  std::string render(bool with_tools = false) const {
    ChatInput input{.messages = {{{"role", "user"}, {"content", "hi"}}}};
    if (with_tools) input.tools = Json::array();
    return ChatTemplate::from_folder(folder_).value().render(input).text;
  }

  fs::path folder_;
};

TEST_F(ChatTemplateFolder, WithoutATemplateThereIsNone) {
  EXPECT_FALSE(ChatTemplate::from_folder(folder_));
  write("tokenizer_config.json", R"({"chat_template": null, "bos_token": "<s>"})");
  EXPECT_FALSE(ChatTemplate::from_folder(folder_));
}

TEST_F(ChatTemplateFolder, TheConfigMayHoldOneTemplateOrSeveral) {
  write("tokenizer_config.json", R"({"chat_template": "one {{ messages[0].content }}"})");
  EXPECT_EQ(render(), "one hi");
  write("tokenizer_config.json",
        R"({"chat_template": [{"name": "default", "template": "plain"}, {"name": "tool_use", "template": "tools"}]})");
  EXPECT_EQ(render(), "plain");
  EXPECT_EQ(render(true), "tools");
  write("tokenizer_config.json", R"({"chat_template": [{"name": "rag", "template": "rag"}]})");
  try {
    render();
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::invalid_argument);
    EXPECT_NE(std::string(e.what()).find("(rag)"), std::string::npos);
    EXPECT_NE(std::string(e.what()).find("--chat-template"), std::string::npos);
  }
  for (const char* broken :
       {R"({"chat_template": 5})", R"({"chat_template": []})", R"({"chat_template": [{"name": "x"}]})"}) {
    write("tokenizer_config.json", broken);
    EXPECT_THROW(ChatTemplate::from_folder(folder_), Error) << broken;
  }
}

TEST_F(ChatTemplateFolder, FilesComeBeforeTheConfig) {
  write("chat_template.json", R"({"chat_template": "processor"})");
  EXPECT_EQ(render(), "processor");
  write("tokenizer_config.json", R"({"chat_template": "config"})");
  EXPECT_EQ(render(), "config");
  write("chat_template.jinja", "file\n");
  EXPECT_EQ(render(), "file");
  EXPECT_EQ(render(true), "file");
  write("additional_chat_templates/tool_use.jinja", "tool file");
  EXPECT_EQ(render(true), "tool file");
  EXPECT_EQ(render(), "file");
}

TEST_F(ChatTemplateFolder, SpecialTokensComeFromTheConfigs) {
  write("special_tokens_map.json", R"({"bos_token": "<old>", "pad_token": {"content": "<pad>", "lstrip": false}})");
  write("tokenizer_config.json",
        R"({"bos_token": {"content": "<s>"}, "eos_token": "</s>", "unk_token": null,
            "extra_special_tokens": {"image_token": "<img>"},
            "chat_template": "{{ bos_token }}{{ eos_token }}{{ pad_token }}{{ image_token }}{{ unk_token is defined }}"})");
  EXPECT_EQ(render(), "<s></s><pad><img>False");
  ChatTemplate of_the_user("{{ pad_token }}{{ image_token }}");
  of_the_user.set_special_tokens(folder_);
  EXPECT_EQ(of_the_user.render({.messages = Json::array()}).text, "<pad><img>");
}

TEST(ChatTemplate, ExtraVariablesReplaceTokensButNotTheConversation) {
  ChatTemplate chat_template(
      "{{ bos_token }}{{ enable_thinking is defined }}{{ tools is none }}{{ documents is none }}");
  chat_template.set_special_token("bos_token", "<s>");
  EXPECT_EQ(chat_template.render({.messages = Json::array()}).text, "<s>FalseTrueTrue");
  EXPECT_EQ(
      chat_template.render({.messages = Json::array(), .extra = {{"bos_token", "B"}, {"enable_thinking", false}}}).text,
      "BTrueTrueTrue");
  EXPECT_THROW(chat_template.render({.messages = Json::array(), .extra = {{"messages", 1}}}), Error);
  EXPECT_THROW(chat_template.render({.messages = "x"}), Error);
  EXPECT_THROW(chat_template.render({.messages = Json::array({"x"})}), Error);
  EXPECT_THROW(chat_template.render({.messages = Json::array(), .tools = 5}), Error);
}

TEST(ChatTemplate, ArgumentsGivenAsTextBecomeObjects) {
  const ChatTemplate chat_template("{{ messages[0].tool_calls[0].function.arguments.city }}");
  const auto input = [](const Json& arguments) {
    const Json call = {{"function", {{"name", "f"}, {"arguments", arguments}}}};
    return ChatInput{.messages = Json::array({{{"role", "assistant"}, {"tool_calls", Json::array({call})}}})};
  };
  EXPECT_EQ(chat_template.render(input(R"({"city": "Ulm"})")).text, "Ulm");
  EXPECT_EQ(chat_template.render(input({{"city", "Ulm"}})).text, "Ulm");
  EXPECT_EQ(chat_template.render(input("")).text, "");
  for (const char* broken : {"{", "[1]", "5"}) {
    try {
      chat_template.render(input(broken));
      FAIL() << broken;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::invalid_argument);
      EXPECT_NE(std::string(e.what()).find("messages[0]"), std::string::npos);
    }
  }
}

}  // namespace
}  // namespace arc
