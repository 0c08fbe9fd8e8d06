// The command `arc run`: one prompt, one streamed answer.
#include <condition_variable>
#include <csignal>
#include <cstdio>
#include <mutex>
#include <unistd.h>

#include "fmt/format.h"
#include "nlohmann/json.hpp"

#include "arc/error.h"
#include "commands.h"
#include "terminal.h"

namespace arc::app {
namespace {

volatile std::sig_atomic_t interrupted = 0;

// Collects a request's events; the main thread waits for the last.
class Answer {
 public:
  Answer(bool stream) : stream_(stream) {}

  void take(const Event& event) {
    const std::lock_guard lock(mutex_);
    if (stream_) {
      std::fwrite(event.text.data(), 1, event.text.size(), stdout);
      std::fflush(stdout);
    }
    text_ += event.text;
    if (!event.finish) return;
    last_ = event;
    done_ = true;
    finished_.notify_one();
  }

  // Cancels the request on Ctrl-C.
  void wait(Engine& engine, RequestId id) {
    std::unique_lock lock(mutex_);
    while (!finished_.wait_for(lock, std::chrono::milliseconds(50), [this] { return done_; })) {
      if (interrupted == 0) continue;
      lock.unlock();
      engine.cancel(id);
      lock.lock();
    }
  }

  const std::string& text() const { return text_; }
  const Event& last() const { return last_; }

 private:
  bool stream_;
  std::mutex mutex_;
  std::condition_variable finished_;
  bool done_ = false;
  std::string text_;
  Event last_;
};

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

Prompt make_prompt(const Engine& engine, const RunOptions& options) {
  if (options.raw || !engine.info().has_chat_template) return TextPrompt{.text = options.prompt};
  const nlohmann::ordered_json messages = {{{"role", "user"}, {"content", options.prompt}}};
  return ChatPrompt{.messages_json = messages.dump()};
}

void print_speed(const Usage& usage) {
  const double prefill = usage.prefill_seconds > 0 ? usage.prompt_tokens / usage.prefill_seconds : 0.0;
  const int decoded = usage.completion_tokens - 1;
  const double decode = usage.decode_seconds > 0 ? decoded / usage.decode_seconds : 0.0;
  fmt::print(stderr, "{} prompt tokens at {:.0f}/s, {} tokens at {:.1f}/s\n", usage.prompt_tokens, prefill,
             usage.completion_tokens, decode);
}

void print_json(const Answer& answer) {
  const Usage& usage = answer.last().usage;
  const nlohmann::ordered_json out = {{"text", answer.text()},
                                      {"finish_reason", finish_name(*answer.last().finish)},
                                      {"prompt_tokens", usage.prompt_tokens},
                                      {"completion_tokens", usage.completion_tokens},
                                      {"prefill_seconds", usage.prefill_seconds},
                                      {"decode_seconds", usage.decode_seconds}};
  fmt::print("{}\n", out.dump(2));
}

}  // namespace

int run(const EngineConfig& config, const RunOptions& options) {
  std::unique_ptr<Engine> engine;
  {
    ProgressBar bar;
    engine = load_engine(config, [&bar](const std::string& what, double fraction) { bar.show(what, fraction); });
  }
  if (::isatty(STDERR_FILENO) != 0) fmt::print(stderr, "{}\n", engine->info().load_report);
  std::signal(SIGINT, [](int) { interrupted = 1; });
  Answer answer(!options.json);
  const RequestId id = engine->submit({.prompt = make_prompt(*engine, options), .sampling = options.sampling},
                                      [&answer](const Event& event) { answer.take(event); });
  answer.wait(*engine, id);
  if (answer.last().finish == FinishReason::error) throw Error(ErrorCode::resource, answer.last().error);
  if (options.json) {
    print_json(answer);
  } else {
    fmt::print("\n");
    if (::isatty(STDERR_FILENO) != 0) print_speed(answer.last().usage);
  }
  return interrupted != 0 ? 130 : 0;
}

}  // namespace arc::app
