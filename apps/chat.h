// The conversation of `arc run` on a terminal.
#pragma once

#include "arc/engine.h"
#include "commands.h"

namespace arc::app {

// The wishes that the user or the model has, else what suits a conversation.
SamplingParams sampling_of(const RunOptions& options, const ModelInfo& info);

// `messages` rendered by the model's chat template, in OpenAI's form. Throws Error for text that is not UTF-8.
struct Message {
  const char* role = "";
  std::string content;
};
Prompt chat_prompt(const std::vector<Message>& messages, const RunOptions& options);

// Reads messages and prints answers until the user leaves. With `options.raw` each text is continued by itself.
void chat(Engine& engine, RunOptions options);

}  // namespace arc::app
