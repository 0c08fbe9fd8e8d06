// Model folders for the command line: a tiny golden with a tokenizer of single characters.
#pragma once

#include <filesystem>
#include <string>

#include "parity/golden.h"

namespace arc::test {

// Every printable ASCII character and the line feed are a token each, so a prompt has as many tokens as characters.
class ModelFolders {
 public:
  ModelFolders();

  std::string base() const { return (root_.path() / "base").string(); }  // without a chat template
  std::string chat() const { return (root_.path() / "chat").string(); }
  std::filesystem::path root() const { return root_.path(); }

 private:
  TemporaryFolder root_;
};

// What chat()'s template adds: "s:SYSTEM;" for a system message, "u:TEXT;" for each message, "a:" at the end.
constexpr int kTemplateTokens = 5;  // of a conversation of one message: its own and "a:"

}  // namespace arc::test
