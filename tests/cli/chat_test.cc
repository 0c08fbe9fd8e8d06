// The conversation of `arc run` on a terminal.
#include <filesystem>
#include <fstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "model_folders.h"
#include "terminal_session.h"

namespace arc::test {
namespace {

using testing::HasSubstr;

const char* const kCtrlC = "\x03";
const char* const kCtrlD = "\x04";
const char* const kUp = "\033[A";

class Chat : public testing::Test {
 protected:
  Chat() : state_("arc_cli_state") {}

  static const ModelFolders& models() {
    static const ModelFolders folders;
    return folders;
  }
  std::vector<std::string> environment(const char* terminal) const {
    return {"XDG_STATE_HOME=" + state_.path().string(), std::string("TERM=") + terminal};
  }
  TerminalSession start(std::vector<std::string> more = {"--max-tokens", "4"}, const char* terminal = "dumb") const {
    std::vector<std::string> words = {ARC_PROGRAM, "run",          "-m",          models().chat(), "--temperature",
                                      "0",         "--ignore-eos", "--kv-memory", "256MB"};
    words.insert(words.end(), more.begin(), more.end());
    return TerminalSession(words, environment(terminal));
  }
  // Tokens of the next answer's prompt, from the line of speeds at its end.
  static int prompt_tokens(TerminalSession& session) {
    const std::string before = session.expect(" prompt tokens");
    return std::stoi(before.substr(before.rfind('[') + 1));
  }
  // Types a message and gives the prompt's tokens.
  static int say(TerminalSession& session, const std::string& keys) {
    session.expect_prompt("> ");
    session.type(keys + "\r");
    return prompt_tokens(session);
  }

  TemporaryFolder state_;
};

TEST_F(Chat, RemembersUntilClear) {
  TerminalSession session = start();
  const int alone = 2 + kTemplateTokens;
  EXPECT_EQ(say(session, "hi"), alone);
  EXPECT_THAT(session.expect("\n"), HasSubstr("first token"));
  EXPECT_GT(say(session, "hi"), 2 * alone);
  session.expect_prompt("> ");
  session.type("/clear\r");
  EXPECT_EQ(say(session, "hi"), alone);
  session.expect_prompt("> ");
  session.type("/exit\r");
  EXPECT_EQ(session.finish(), 0);
}

TEST_F(Chat, SystemMessageLeadsUntilItIsDropped) {
  TerminalSession session = start({"--max-tokens", "4", "--system", "brief"});
  const int alone = 2 + kTemplateTokens;
  EXPECT_EQ(say(session, "hi"), alone + 8);
  session.expect_prompt("> ");
  session.type("/clear\r");
  EXPECT_EQ(say(session, "hi"), alone);
  session.expect_prompt("> ");
  session.type("/clear\r");
  session.expect_prompt("> ");
  session.type("\\system terse\r");
  EXPECT_EQ(say(session, "hi"), alone + 8);
  session.expect_prompt("> ");
  session.type("/clear\r");
  session.expect_prompt("> ");
  session.type("/system abc\r");
  session.expect_prompt("> ");
  session.type("/system\r");
  EXPECT_EQ(say(session, "hi"), alone);
}

TEST_F(Chat, ManyLinesAreOneMessage) {
  TerminalSession session = start();
  session.expect_prompt("> ");
  session.type("one\\\r");
  session.expect_prompt(". ");
  session.type("two\r");
  EXPECT_EQ(prompt_tokens(session), 7 + kTemplateTokens);
  session.expect_prompt("> ");
  session.type("/clear\r");
  session.expect_prompt("> ");
  session.type("\"\"\"one\r");
  session.expect_prompt(". ");
  session.type("\r");
  session.expect_prompt(". ");
  session.type("two\"\"\"\r");
  EXPECT_EQ(prompt_tokens(session), 8 + kTemplateTokens);
}

TEST_F(Chat, PastedLinesAreOneMessage) {
  TerminalSession session = start({"--max-tokens", "4"}, "xterm");
  session.expect_prompt("> ");
  session.type("\033[200~one\rtwo\rthree\033[201~\r");
  EXPECT_EQ(prompt_tokens(session), 13 + kTemplateTokens);
}

TEST_F(Chat, CtrlCStopsTheAnswerAndNotTheProgram) {
  TerminalSession session = start({"--max-tokens", "16000"});
  session.expect_prompt("> ");
  session.type("hi\r");
  session.expect("\n");
  session.expect("\n");  // the model's answer holds line feeds
  session.type(kCtrlC);
  session.expect("[stopped; ");
  session.expect_prompt("> ");
  session.type("/clear\r");
  session.expect_prompt("> ");
  session.type("hi\r");
  session.expect("\n");
  session.expect("\n");
  session.type(kCtrlC);
  session.expect("[stopped; 7 prompt tokens");
  session.expect_prompt("> ");
  session.type(kCtrlD);
  EXPECT_EQ(session.finish(), 0);
}

TEST_F(Chat, CtrlCAtThePromptDropsTheLineAndTwiceLeaves) {
  TerminalSession session = start();
  session.expect_prompt("> ");
  session.type("never sent");
  session.type(kCtrlC);
  session.expect("leaves");
  EXPECT_EQ(say(session, "hi"), 2 + kTemplateTokens);
  session.expect_prompt("> ");
  session.type(kCtrlC);
  session.expect("leaves");
  session.expect_prompt("> ");
  session.type(kCtrlC);
  EXPECT_EQ(session.finish(), 0);
}

TEST_F(Chat, HistoryOutlivesTheProgramAndIsTheOwnersAlone) {
  {
    TerminalSession session = start();
    say(session, "first");
    session.expect_prompt("> ");
    session.type(kCtrlD);
    session.finish();
  }
  const std::filesystem::path file = state_.path() / "arc" / "history";
  EXPECT_EQ(std::filesystem::status(file).permissions(),
            std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
  TerminalSession session = start();
  EXPECT_EQ(say(session, kUp), 5 + kTemplateTokens);
}

TEST_F(Chat, CommandsAreListedAndChecked) {
  TerminalSession session = start();
  session.expect_prompt("> ");
  session.type("/help\r");
  const std::string help = session.expect_prompt("> ");
  for (const char* name : {"/help", "/system", "/clear", "/temperature", "/topk", "/topp", "/exit"}) {
    EXPECT_THAT(help, HasSubstr(name));
  }
  session.type("/nonsense\r");
  session.expect("no command /nonsense");
  session.expect_prompt("> ");
  session.type("/temperature warm\r");
  session.expect("give a number");
  session.expect_prompt("> ");
  session.type("/topk 0\r");
  EXPECT_EQ(say(session, "hi"), 2 + kTemplateTokens);
}

TEST_F(Chat, AnErrorLeavesTheConversationAsItWas) {
  TerminalSession session = start({"--max-tokens", "4", "--max-seq-len", "32"});
  session.expect_prompt("> ");
  session.type("a message that is longer than all the room there is\r");
  session.expect("arc: ");
  EXPECT_EQ(say(session, "hi"), 2 + kTemplateTokens);
}

TEST_F(Chat, WithoutATemplateItSaysHowToGoOn) {
  TerminalSession refused({ARC_PROGRAM, "run", "-m", models().base()}, environment("dumb"));
  refused.expect("no chat template");
  refused.expect("--raw");
  EXPECT_EQ(refused.finish(), 1);

  TerminalSession session({ARC_PROGRAM, "run", "-m", models().base(), "--raw", "--max-tokens", "4", "--ignore-eos"},
                          environment("dumb"));
  EXPECT_EQ(say(session, "hello"), 5);
  EXPECT_EQ(say(session, "hello"), 5);
}

TEST_F(Chat, CtrlCEndsASingleAnswerWithItsOwnExitCode) {
  TerminalSession session = start({"--max-tokens", "16000", "hi"});
  session.expect("longest sequence");
  session.expect("\n");
  session.expect("\n");
  session.type(kCtrlC);
  EXPECT_EQ(session.finish(), 130);
}

}  // namespace
}  // namespace arc::test
