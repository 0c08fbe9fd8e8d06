// The answer to one API request: submits it to the engine and turns the events into a response.
#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "arc/engine.h"
#include "serve/openai_request.h"
#include "serve/openai_response.h"
#include "serve/response_channel.h"

namespace arc::serve {

// Lives as long as the engine has events for it. Events become bytes on the engine's output thread, which never waits;
// the channel's connection sends them.
class Answer : public std::enable_shared_from_this<Answer> {
 public:
  // `engine` outlives the answer.
  Answer(Engine& engine, AnswerHead head, ApiRequest request, std::shared_ptr<ResponseChannel> channel);
  // A request that the engine dropped without a last event still gets an end.
  ~Answer();

  // Throws what Engine::submit throws; then nothing has been answered.
  void submit();

 private:
  // What comes before or with the first event of a prompt, for every choice of it.
  struct PromptState {
    std::string echo;
    std::vector<PositionLogprobs> logprobs;
    Usage usage;
  };
  // One of the n answers to one of the prompts; they are numbered through all prompts.
  struct ChoiceState {
    LogprobsWriter logprobs;
    Choice choice;
    bool started = false;
  };

  void cancel();
  void on_event(size_t prompt_index, const Event& event);
  void take_event(size_t prompt_index, const Event& event);
  void append_chunks(int32_t index, bool first, std::string_view text, const Event& event);
  void finish_choice(PromptState& prompt, ChoiceState& state, const Event& event);
  void complete();
  void fail(int status, std::string_view message);
  void deliver();
  TokenCounts counts() const;

  Engine& engine_;
  const AnswerHead head_;
  ApiRequest request_;
  const std::shared_ptr<ResponseChannel> channel_;
  const ChunkWriter chunks_;
  const size_t n_per_prompt_;

  std::mutex mutex_;  // guards what follows
  std::vector<PromptState> prompts_;
  std::vector<ChoiceState> choices_;
  std::vector<RequestId> ids_;
  size_t n_open_ = 0;       // choices without an end
  bool submitted_ = false;  // the engine has all prompts: the response may begin
  bool over_ = false;       // nothing more will be said
  std::string stream_;      // written, and not yet with the channel
  HttpResponse whole_;      // the response when it is no stream
};

}  // namespace arc::serve
