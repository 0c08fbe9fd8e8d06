#include "eval/in_flight.h"

#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <utility>

#include "base/error.h"

namespace arc {
namespace {

constexpr size_t kAtOnce = 64;

class InFlight {
 public:
  explicit InFlight(Engine& engine) : engine_(engine) {}
  InFlight(const InFlight&) = delete;
  InFlight& operator=(const InFlight&) = delete;
  ~InFlight() {
    for (const auto& [index, open] : open_) engine_.cancel(open.id);
    std::unique_lock lock(mutex_);
    ended_.wait(lock, [this] { return finished_.size() == open_.size(); });
  }

  size_t size() const { return open_.size(); }

  void submit(size_t index, Request request) {
    Open& open = open_[index];
    try {
      open.id = engine_.submit(std::move(request), [this, index, &open](const Event& e) { take(e, index, open); });
    } catch (...) {
      open_.erase(index);
      throw;
    }
  }

  // The next request that has ended.
  std::pair<size_t, Answer> wait() {
    std::unique_lock lock(mutex_);
    ended_.wait(lock, [this] { return !finished_.empty(); });
    const size_t index = finished_.front();
    finished_.pop_front();
    Open open = std::move(open_.at(index));
    open_.erase(index);
    if (!open.error.empty()) throw Error(ErrorCode::resource, open.error);
    return {index, std::move(open.answer)};
  }

 private:
  struct Open {
    RequestId id = 0;
    Answer answer;
    std::string error;
  };

  void take(const Event& event, size_t index, Open& open) {
    const std::lock_guard lock(mutex_);
    open.answer.text += event.text;
    open.answer.prompt_logprobs.insert(open.answer.prompt_logprobs.end(), event.prompt_logprobs.begin(),
                                       event.prompt_logprobs.end());
    if (!event.finish) return;
    open.answer.embedding = event.embedding;
    open.answer.prompt_tokens = event.usage.prompt_tokens;
    if (event.finish == FinishReason::error) open.error = event.error;
    if (event.finish == FinishReason::cancelled) open.error = "the engine ended the request";
    finished_.push_back(index);
    ended_.notify_one();
  }

  Engine& engine_;
  std::map<size_t, Open> open_;  // changed by the caller's thread only; an entry stays where it is
  std::mutex mutex_;
  std::condition_variable ended_;
  std::deque<size_t> finished_;
};

}  // namespace

void run_requests(Engine& engine, size_t n, const std::function<Request(size_t)>& make,
                  const std::function<void(size_t, Answer)>& done) {
  InFlight running(engine);
  for (size_t next = 0; next < n || running.size() > 0;) {
    if (next < n && running.size() < kAtOnce) {
      running.submit(next, make(next));
      ++next;
      continue;
    }
    auto [index, answer] = running.wait();
    done(index, std::move(answer));
  }
}

}  // namespace arc
