// The command `arc run`: one answer, or a conversation.
#include <cstdio>
#include <iostream>
#include <iterator>
#include <unistd.h>

#include "fmt/format.h"
#include "nlohmann/json.hpp"

#include "answer.h"
#include "arc/error.h"
#include "chat.h"
#include "commands.h"

namespace arc::app {
namespace {

constexpr int kInterrupted = 130;

const char* finish_name(FinishReason reason) {
  switch (reason) {
    case FinishReason::stop:
      return "stop";
    case FinishReason::length:
      return "length";
    case FinishReason::cancelled:
      return "cancelled";
    case FinishReason::error:
      break;
  }
  return "error";
}

Prompt prompt_of(const RunOptions& options, bool has_template) {
  if (options.raw || !has_template) {
    if (options.system.empty()) return TextPrompt{.text = options.prompt};
    throw Error(ErrorCode::unsupported,
                "--system needs a chat template: give one with --chat-template FILE, and leave --raw out");
  }
  std::vector<Message> messages;
  if (!options.system.empty()) messages.push_back({"system", options.system});
  messages.push_back({"user", options.prompt});
  return chat_prompt(messages, options);
}

void print_json(const Answer& answer, const ModelInfo& info) {
  const Usage& usage = answer.last.usage;
  const nlohmann::ordered_json out = {{"model", info.name},
                                      {"text", answer.text},
                                      {"finish_reason", finish_name(*answer.last.finish)},
                                      {"prompt_tokens", usage.prompt_tokens},
                                      {"cached_tokens", usage.cached_tokens},
                                      {"completion_tokens", usage.completion_tokens},
                                      {"queue_seconds", usage.queue_seconds},
                                      {"prefill_seconds", usage.prefill_seconds},
                                      {"decode_seconds", usage.decode_seconds}};
  fmt::print("{}\n", out.dump(2));
}

int answer_once(Engine& engine, const RunOptions& options) {
  const ModelInfo info = engine.info();
  const CatchInterrupt guard;
  const Answer answer =
      ask(engine, {.prompt = prompt_of(options, info.has_chat_template), .sampling = sampling_of(options, info)},
          !options.json);
  if (options.json) {
    print_json(answer, info);
  } else {
    fmt::print("\n");
    if (::isatty(STDERR_FILENO) != 0) fmt::print(stderr, "[{}]\n", speed_line(answer.last.usage));
  }
  return answer.interrupted ? kInterrupted : 0;
}

}  // namespace

int run(const EngineConfig& config, RunOptions options) {
  bool talk = false;
  if (options.prompt.empty()) {
    talk = ::isatty(STDIN_FILENO) != 0 && !options.json;
    if (!talk) options.prompt.assign(std::istreambuf_iterator<char>(std::cin), {});
    if (!talk && options.prompt.empty()) {
      throw Error(ErrorCode::invalid_argument, "there is no prompt: arc run -m MODEL \"your text\", or pipe text in");
    }
  }
  const std::unique_ptr<Engine> engine = load(config);
  if (::isatty(STDERR_FILENO) != 0) fmt::print(stderr, "{}", engine->info().load_report);
  if (!talk) return answer_once(*engine, options);
  if (!options.raw && !engine->info().has_chat_template) {
    throw Error(ErrorCode::unsupported,
                "this model has no chat template, so it cannot hold a conversation. Give one with "
                "--chat-template FILE, or add --raw: then it continues each text that you type.");
  }
  chat(*engine, std::move(options));
  return 0;
}

}  // namespace arc::app
