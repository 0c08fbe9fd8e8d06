#include "serve/load.h"

#include <algorithm>
#include <arpa/inet.h>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstring>
#include <memory>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdexcept>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fmt/format.h"
#include "nlohmann/json.hpp"

namespace arc::bench {
namespace {

using Clock = std::chrono::steady_clock;

double ms_since(Clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
}

std::string request_bytes(const Target& target, const Load& load) {
  nlohmann::ordered_json body = {{"prompt", load.prompt},
                                 {"max_tokens", load.max_tokens},
                                 {"temperature", 0},
                                 {"ignore_eos", true},
                                 {"stream", load.stream}};
  if (load.stream) body["stream_options"] = {{"include_usage", true}};
  const std::string text = body.dump();
  return fmt::format(
      "POST /v1/completions HTTP/1.1\r\nHost: {}:{}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{}",
      target.host, target.port, text.size(), text);
}

// One connection and the answer that it waits for.
class Connection {
 public:
  Connection(const Target& target, const std::string& request, LoadResult& result, int poll)
      : target_(target), request_(request), result_(result), poll_(poll) {
    open();
  }
  ~Connection() { ::close(socket_); }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  void send_request() {
    received_.clear();
    body_at_ = 0;
    waiting_ = true;
    sent_at_ = Clock::now();
    if (::send(socket_, request_.data(), request_.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(request_.size())) {
      reconnect();
    }
  }

  // Reads what is there; `again`: begins the next request when an answer is whole.
  void receive(bool again) {
    char bytes[1 << 16];
    const ssize_t n = ::recv(socket_, bytes, sizeof bytes, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0) {
      if (waiting_ && !received_.empty()) ++result_.n_failed;
      reconnect();
      if (again) send_request();
      return;
    }
    received_.append(bytes, static_cast<size_t>(n));
    if (!take_answer()) return;
    waiting_ = false;
    if (again) send_request();
  }

 private:
  void open() {
    socket_ = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(target_.port);
    if (::inet_pton(AF_INET, target_.host.c_str(), &address.sin_addr) != 1) {
      throw std::runtime_error(target_.host + " is not an IPv4 address");
    }
    if (::connect(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
      throw std::runtime_error(fmt::format("cannot connect to {}:{}: {}", target_.host, target_.port, strerror(errno)));
    }
    const int on = 1;
    ::setsockopt(socket_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    epoll_event event{.events = EPOLLIN, .data = {.ptr = this}};
    ::epoll_ctl(poll_, EPOLL_CTL_ADD, socket_, &event);
  }

  void reconnect() {
    ::close(socket_);
    ++result_.n_reconnects;
    waiting_ = false;
    open();
  }

  // True when the answer is whole; then it has been counted.
  bool take_answer() {
    if (body_at_ == 0) {
      const size_t end = received_.find("\r\n\r\n");
      if (end == std::string::npos) return false;
      body_at_ = end + 4;
      chunked_ = received_.find("\r\nTransfer-Encoding: chunked") < end;
      const size_t length = received_.find("\r\nContent-Length: ");
      if (length < end) {
        const char* digits = received_.data() + length + 18;
        std::from_chars(digits, received_.data() + end, n_body_);
      }
      first_byte_at_ = ms_since(sent_at_);
    }
    const bool whole = chunked_ ? received_.ends_with("\r\n0\r\n\r\n") : received_.size() >= body_at_ + n_body_;
    if (!whole) return false;
    if (!received_.starts_with("HTTP/1.1 200")) {
      ++result_.n_failed;
      return true;
    }
    ++result_.n_requests;
    result_.latencies_ms.push_back(ms_since(sent_at_));
    result_.first_byte_ms.push_back(first_byte_at_);
    constexpr std::string_view kUsage = "\"completion_tokens\":";
    const size_t usage = received_.rfind(kUsage);
    int64_t n = 0;
    if (usage != std::string::npos) {
      const char* digits = received_.data() + usage + kUsage.size();
      std::from_chars(digits + (*digits == ' '), received_.data() + received_.size(), n);
    }
    result_.n_tokens += n;
    return true;
  }

  const Target& target_;
  const std::string& request_;
  LoadResult& result_;
  int poll_;
  int socket_ = -1;
  bool waiting_ = false;
  std::string received_;
  size_t body_at_ = 0;  // of `received_`; 0: the head is not whole
  size_t n_body_ = 0;
  bool chunked_ = false;
  double first_byte_at_ = 0.0;
  Clock::time_point sent_at_;
};

}  // namespace

double quantile(const std::vector<double>& values, double share) {
  if (values.empty()) return 0.0;
  return values[std::min(values.size() - 1, static_cast<size_t>(share * static_cast<double>(values.size())))];
}

LoadResult run_load(const Target& target, const Load& load) {
  LoadResult result;
  const std::string request = request_bytes(target, load);
  const int poll = ::epoll_create1(0);
  std::vector<std::unique_ptr<Connection>> connections;
  for (int i = 0; i < load.n_connections; ++i) {
    connections.push_back(std::make_unique<Connection>(target, request, result, poll));
  }
  const Clock::time_point begin = Clock::now();
  for (const auto& connection : connections) connection->send_request();
  epoll_event events[64];
  while (ms_since(begin) < load.seconds * 1000) {
    const int n = ::epoll_wait(poll, events, 64, 100);
    for (int i = 0; i < n; ++i) static_cast<Connection*>(events[i].data.ptr)->receive(true);
  }
  result.seconds = ms_since(begin) / 1000;
  connections.clear();
  ::close(poll);
  std::ranges::sort(result.latencies_ms);
  std::ranges::sort(result.first_byte_ms);
  return result;
}

}  // namespace arc::bench
