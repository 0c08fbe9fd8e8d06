// Completion scripts: they parse, and bash completes what a user types.
#include <regex>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "model_folders.h"
#include "process.h"

namespace arc::test {
namespace {

using testing::HasSubstr;
using testing::Not;

// What bash offers after `line`, one to a line.
std::string bash_offers(const std::string& line) {
  const std::string script =
      run_arc({"completions", "bash"}).out + "COMP_WORDS=(" + line +
      ")\nCOMP_CWORD=$((${#COMP_WORDS[@]} - 1))\n_arc 2>/dev/null\nprintf '%s\\n' \"${COMPREPLY[@]}\"\n";
  const Output output = run_program({"bash", "-s"}, script);
  EXPECT_EQ(output.status, 0) << output.err;
  return output.out;
}

TEST(Completions, Parse) {
  for (const char* shell : {"bash", "zsh", "fish"}) {
    const Output script = run_arc({"completions", shell});
    EXPECT_EQ(script.status, 0);
    if (run_program({shell, "-c", "true"}).status == 127) continue;  // not installed
    EXPECT_EQ(run_program({shell, "-n"}, script.out).err, "") << shell;
  }
}

TEST(Completions, BashOffersCommandsOptionsAndValues) {
  EXPECT_EQ(bash_offers("arc com"), "completions\n");
  EXPECT_EQ(bash_offers("arc run --dty"), "--dtype\n");
  EXPECT_EQ(bash_offers("arc run --dtype b"), "bf16\n");
  EXPECT_EQ(bash_offers("arc completions z"), "zsh\n");
  EXPECT_EQ(bash_offers("arc run --threads ''"), "\n");
  EXPECT_THAT(bash_offers("arc serve --"), HasSubstr("--api-key\n"));
  EXPECT_THAT(bash_offers("arc inspect --"), Not(HasSubstr("--api-key")));
}

TEST(Completions, BashOffersFiles) {
  const TemporaryFolder folder("arc_cli_files");
  EXPECT_EQ(bash_offers("arc run -m " + folder.path().string().substr(0, folder.path().string().size() - 1)),
            folder.path().string() + "\n");
}

TEST(Completions, KnowEveryOptionOfTheHelp) {
  for (const char* command : {"run", "serve", "bench", "eval", "inspect"}) {
    const std::string help = run_arc({command, "--help"}).out;
    const std::string offers = bash_offers(std::string("arc ") + command + " --");
    static const std::regex kEntry("\n  (?:-[a-z], )?(--[a-z-]+)(?:, (--[a-z-]+))?");
    for (std::sregex_iterator it(help.begin(), help.end(), kEntry), end; it != end; ++it) {
      EXPECT_THAT(offers, HasSubstr((*it)[1].str() + "\n"));
      EXPECT_THAT(offers, HasSubstr((*it)[2].str() + "\n"));
    }
  }
}

}  // namespace
}  // namespace arc::test
