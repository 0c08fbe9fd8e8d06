// An engine for tests: tokens are bytes, each has a fixed log-probability, and answers come from a list.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "arc/engine.h"

namespace arc {

class ByteEngine final : public Engine {
 public:
  static constexpr int32_t kVocab = 256;
  static float logprob(int32_t token) { return -0.25f * static_cast<float>(token % 7 + 1); }

  std::map<std::string, std::string> answers;  // by messages_json; the default: "none"
  std::vector<std::vector<int32_t>> read;      // prompts, as they came
  size_t fail_at = SIZE_MAX;                   // the request of this number ends with an error
  float tilt = 0;                              // added to the logit of token 0

  RequestId submit(Request request, EventSink sink) override {
    const size_t number = read.size();
    read.push_back(tokenize(request.prompt));
    Event event{.id = number};
    if (const auto* chat = std::get_if<ChatPrompt>(&request.prompt)) {
      const auto found = answers.find(chat->messages_json);
      event.text = found == answers.end() ? "none" : found->second;
    }
    for (size_t i = 0; i < read.back().size() && request.sampling.prompt_logprobs; ++i) {
      event.prompt_logprobs.push_back({.chosen = {.token = read.back()[i], .logprob = logprob(read.back()[i])}});
      for (int32_t t = 0; t < kVocab && request.prompt_logits != nullptr; ++t) {
        request.prompt_logits[i * kVocab + static_cast<size_t>(t)] = logprob(t) + (t == 0 ? tilt : 0.0f);
      }
    }
    event.finish = number == fail_at ? FinishReason::error : FinishReason::stop;
    event.error = number == fail_at ? "it broke" : "";
    sink(event);
    return number;
  }
  void cancel(RequestId /*id*/) override {}
  ModelInfo info() const override {
    return {.name = "bytes", .max_seq_len = 64, .vocab_size = kVocab, .has_chat_template = true};
  }
  EngineStats stats() const override { return {}; }
  bool healthy(std::string* /*reason*/) const override { return true; }
  std::vector<int32_t> tokenize(const Prompt& prompt) const override {
    if (const auto* tokens = std::get_if<TokenPrompt>(&prompt)) return tokens->tokens;
    const auto* text = std::get_if<TextPrompt>(&prompt);
    const std::string& bytes = text != nullptr ? text->text : std::get<ChatPrompt>(prompt).messages_json;
    std::vector<int32_t> tokens;
    for (const unsigned char byte : bytes) tokens.push_back(byte);
    return tokens;
  }
  std::string detokenize(const std::vector<int32_t>& tokens) const override { return {tokens.begin(), tokens.end()}; }
  std::string token_text(int32_t token) const override { return {static_cast<char>(token)}; }
};

}  // namespace arc
