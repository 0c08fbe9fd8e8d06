#include "answer.h"

#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <utility>

#include "fmt/format.h"

#include "arc/error.h"

namespace arc::app {
namespace {

volatile std::sig_atomic_t interrupted = 0;

// Events come on the engine's thread, the caller waits on its own.
class Collector {
 public:
  explicit Collector(bool stream) : stream_(stream) {}

  void take(const Event& event) {
    const std::lock_guard lock(mutex_);
    if (stream_) {
      std::fwrite(event.text.data(), 1, event.text.size(), stdout);
      std::fflush(stdout);
    }
    answer_.text += event.text;
    if (!event.finish) return;
    answer_.last = event;
    done_ = true;
    finished_.notify_one();
  }

  Answer wait(Engine& engine, RequestId id) {
    std::unique_lock lock(mutex_);
    while (!finished_.wait_for(lock, std::chrono::milliseconds(50), [this] { return done_; })) {
      if (interrupted == 0 || answer_.interrupted) continue;
      answer_.interrupted = true;
      lock.unlock();
      engine.cancel(id);
      lock.lock();
    }
    return std::move(answer_);
  }

 private:
  bool stream_;
  std::mutex mutex_;
  std::condition_variable finished_;
  bool done_ = false;
  Answer answer_;
};

double rate(int count, double seconds) {
  return seconds > 0 ? count / seconds : 0.0;
}

}  // namespace

CatchInterrupt::CatchInterrupt() {
  forget();
  struct sigaction action{};
  action.sa_handler = [](int) { interrupted = 1; };
  ::sigaction(SIGINT, &action, &before_);
}
CatchInterrupt::~CatchInterrupt() {
  ::sigaction(SIGINT, &before_, nullptr);
}
void CatchInterrupt::forget() {
  interrupted = 0;
}

Answer ask(Engine& engine, Request request, bool stream) {
  Collector collector(stream);
  const RequestId id = engine.submit(std::move(request), [&](const Event& event) { collector.take(event); });
  Answer answer = collector.wait(engine, id);
  if (answer.last.finish == FinishReason::error) throw Error(ErrorCode::resource, answer.last.error);
  return answer;
}

std::string speed_line(const Usage& usage) {
  const int computed = usage.prompt_tokens - usage.cached_tokens;
  const std::string cached = usage.cached_tokens > 0 ? fmt::format(" ({} cached)", usage.cached_tokens) : "";
  return fmt::format("{} prompt tokens{}, {:.1f}/s; first token {:.2f} s; {} tokens, {:.1f}/s", usage.prompt_tokens,
                     cached, rate(computed, usage.prefill_seconds), usage.queue_seconds + usage.prefill_seconds,
                     usage.completion_tokens, rate(usage.completion_tokens - 1, usage.decode_seconds));
}

}  // namespace arc::app
