#include "serve/http_server.h"

#include <csignal>
#include <ctime>
#include <exception>
#include <optional>
#include <tuple>
#include <unordered_set>
#include <utility>

#include "boost/asio/as_tuple.hpp"
#include "boost/asio/awaitable.hpp"
#include "boost/asio/co_spawn.hpp"
#include "boost/asio/io_context.hpp"
#include "boost/asio/ip/tcp.hpp"
#include "boost/asio/post.hpp"
#include "boost/asio/signal_set.hpp"
#include "boost/asio/steady_timer.hpp"
#include "boost/asio/thread_pool.hpp"
#include "boost/asio/use_awaitable.hpp"
#include "boost/asio/write.hpp"
#include "boost/beast/core/flat_buffer.hpp"
#include "boost/beast/http/error.hpp"
#include "boost/beast/http/parser.hpp"
#include "boost/beast/http/read.hpp"
#include "boost/beast/http/string_body.hpp"
#include "fmt/format.h"

#include "base/error.h"
#include "base/log.h"
#include "serve/api_error.h"

namespace arc::serve {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using asio::ip::tcp;
using boost::system::error_code;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr auto kToken = asio::as_tuple(asio::use_awaitable);
constexpr milliseconds kLingerTime{2'000};      // to read what a refused client still sends
constexpr milliseconds kLastWritesTime{5'000};  // for the errors of cancelled requests, at the end
constexpr milliseconds kAcceptPause{100};       // when the process is out of file descriptors
constexpr size_t kReadBytes = 4096;

tcp::acceptor listen_on(asio::io_context& io, const HttpOptions& options) {
  try {
    tcp::resolver resolver(io);
    const auto found = resolver.resolve(options.host, std::to_string(options.port), tcp::resolver::passive);
    return tcp::acceptor(io, found.begin()->endpoint());
  } catch (const boost::system::system_error& e) {
    throw Error(ErrorCode::io, fmt::format("Cannot listen on {} port {}: {}. Choose another host or port.",
                                           options.host, options.port, e.code().message()));
  }
}

HttpRequest request_of(const http::request<http::string_body>& message) {
  HttpRequest request;
  request.method = message.method() == http::verb::head ? "GET" : std::string(message.method_string());
  const std::string_view target(message.target().data(), message.target().size());
  request.path = target.substr(0, target.find('?'));
  for (const auto& field : message) {
    request.headers.push_back({std::string(field.name_string()), std::string(field.value())});
  }
  return request;
}

// What the parser lets pass although RFC 9112 (sections 3.2 and 6.3) does not.
std::optional<HttpResponse> answer_to_bad_head(const http::request<http::string_body>& message) {
  if (message.version() >= 11 && message.find(http::field::host) == message.end()) {
    return error_response(400, "The request has no Host header.");
  }
  if (message.find(http::field::transfer_encoding) != message.end() && !message.chunked()) {
    return error_response(400, "The Transfer-Encoding must be chunked.");
  }
  return std::nullopt;
}

// What a client hears whose bytes are not a request; nothing when it has merely gone.
std::optional<HttpResponse> answer_to_bad_bytes(const error_code& error, const HttpOptions& options) {
  if (error == http::error::end_of_stream) return std::nullopt;
  if (error == http::error::header_limit) {
    return error_response(431, fmt::format("The headers are longer than {} bytes.", options.max_header_bytes));
  }
  if (error == http::error::body_limit) {
    return error_response(413, fmt::format("The body is longer than {} bytes.", options.max_body_bytes));
  }
  static const auto& http_category = error_code(http::error::bad_method).category();
  if (error.category() != http_category) return std::nullopt;
  return error_response(400, fmt::format("This is not an HTTP/1.1 request: {}.", error.message()));
}

}  // namespace

// ---- the server ----------------------------------------------------------------------------------------------------

class HttpServer::Server {
 public:
  Server(const HttpOptions& options, const Router& router)
      : options(options), router(router), acceptor_(listen_on(io, options)), signals_(io), patience_(io) {
    // From here on, so that a signal is not lost that comes before run().
    if (!options.stop_on_signals) return;
    signals_.add(SIGINT);
    signals_.add(SIGTERM);
    wait_for_signal();
  }

  uint16_t port() const { return acceptor_.local_endpoint().port(); }
  void run();
  void begin_stop();
  const std::string& date_header();
  // The bytes of a response after which the connection is closed.
  std::string last_response(const HttpResponse& response);

  const HttpOptions options;
  const Router& router;
  asio::io_context io{1};
  asio::thread_pool worker{1};  // of requests with large bodies
  bool stopping = false;

 private:
  asio::awaitable<void> accept_connections();
  void refuse(tcp::socket socket);
  void start(tcp::socket socket);
  void wait_for_signal();
  void abandon_all();
  void end_when_empty();

  tcp::acceptor acceptor_;
  asio::signal_set signals_;
  asio::steady_timer patience_;
  std::unordered_set<std::shared_ptr<Connection>> connections_;
  int64_t date_second_ = -1;  // that date_header_ shows
  std::string date_header_;
};

// ---- a connection --------------------------------------------------------------------------------------------------

// A coroutine that reads a request, hands it to the router, sends the answer, and begins again. All members belong to
// the I/O thread. Results of co_await go to variables, not into conditions: g++ 12 lays out the frame of
// `if (!co_await f())` wrongly.
class HttpServer::Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(Server& server, tcp::socket socket)
      : server_(server), socket_(std::move(socket)), deadline_(server.io), signal_(server.io) {}

  asio::awaitable<void> run();
  // Makes the coroutine look at its state again.
  void wake() { signal_.cancel(); }
  // Cancels the request that is being answered; without one, closes.
  void abandon();
  void close();

 private:
  struct Incoming {
    HttpRequest request;
    std::optional<HttpResponse> refusal;
    Framing framing;
  };

  asio::awaitable<bool> wait_for_request();
  asio::awaitable<std::optional<Incoming>> read_request();
  asio::awaitable<bool> answer(Incoming& incoming);
  asio::awaitable<bool> send_answer();
  asio::awaitable<bool> write_out();
  asio::awaitable<bool> signal();
  asio::awaitable<void> stop_watching();
  asio::awaitable<void> linger();
  void prepare_refusal(const error_code& error);
  void handle(Incoming& incoming);
  void skip_empty_lines();
  void watch();
  void set_deadline(milliseconds timeout);
  void clear_deadline() { deadline_.expires_at(steady_clock::time_point::max()); }

  Server& server_;
  tcp::socket socket_;
  asio::steady_timer deadline_;  // of the read or write in progress
  asio::steady_timer signal_;    // the coroutine waits on it; cancelled by wake()
  boost::beast::flat_buffer buffer_;
  std::string out_;                           // what write_out() sends
  std::shared_ptr<ResponseChannel> channel_;  // while a request is being answered
  bool watching_ = false;                     // a read is under way beside the coroutine
  bool peer_gone_ = false;
  bool timed_out_ = false;
  bool unread_ = false;  // the client may still be sending what nobody will read
};

asio::awaitable<void> HttpServer::Connection::run() {
  for (;;) {
    const bool arrived = co_await wait_for_request();
    if (!arrived) break;
    std::optional<Incoming> incoming = co_await read_request();
    if (!incoming) break;
    const bool reusable = co_await answer(*incoming);
    if (!reusable) break;
  }
  if (unread_) co_await linger();
  close();
}

void HttpServer::Connection::abandon() {
  if (!channel_) return close();
  channel_->abandon();
}

void HttpServer::Connection::close() {
  error_code ignored;
  std::ignore = socket_.shutdown(tcp::socket::shutdown_both, ignored);
  std::ignore = socket_.close(ignored);
  peer_gone_ = true;
  deadline_.cancel();
  wake();
}

// True when bytes of a request are in the buffer.
asio::awaitable<bool> HttpServer::Connection::wait_for_request() {
  if (buffer_.size() > 0) co_await stop_watching();
  skip_empty_lines();
  while (buffer_.size() == 0 && !peer_gone_ && !server_.stopping) {
    watch();
    signal_.expires_after(server_.options.idle_timeout);
    const bool woken = co_await signal();
    if (!woken) break;
    skip_empty_lines();
  }
  co_return buffer_.size() > 0 && socket_.is_open();
}

// Some clients send a line end after a body; RFC 9112, section 2.2, wants it ignored.
void HttpServer::Connection::skip_empty_lines() {
  while (!watching_ && buffer_.size() > 0) {
    const char first = *static_cast<const char*>(buffer_.data().data());
    if (first != '\r' && first != '\n') return;
    buffer_.consume(1);
  }
}

// Nothing when there will be no more requests on this connection.
asio::awaitable<std::optional<HttpServer::Connection::Incoming>> HttpServer::Connection::read_request() {
  http::request_parser<http::string_body> parser;
  parser.header_limit(static_cast<uint32_t>(server_.options.max_header_bytes));
  parser.body_limit(server_.options.max_body_bytes);

  set_deadline(server_.options.header_timeout);
  auto [head_error, head_bytes] = co_await http::async_read_header(socket_, buffer_, parser, kToken);
  if (head_error) {
    prepare_refusal(head_error);
    co_await write_out();
    co_return std::nullopt;
  }
  const auto& message = parser.get();
  Incoming incoming{.request = request_of(message),
                    .framing = {.http_1_0 = message.version() < 11,
                                .keep_alive = message.keep_alive() && !server_.stopping,
                                .head_only = message.method() == http::verb::head,
                                .headers = server_.date_header()}};
  incoming.framing.headers += server_.router.origin_headers(incoming.request);
  incoming.refusal = server_.router.refusal(incoming.request);
  if (std::optional<HttpResponse> bad = answer_to_bad_head(message)) {
    incoming.refusal = std::move(bad);
    incoming.framing.keep_alive = false;
  }
  if (incoming.refusal && !parser.is_done()) {
    unread_ = true;
    incoming.framing.keep_alive = false;
  }
  if (incoming.refusal || parser.is_done()) {
    clear_deadline();
    co_return incoming;
  }
  if (boost::beast::iequals(message[http::field::expect], "100-continue")) {
    out_ = "HTTP/1.1 100 Continue\r\n\r\n";
    co_await write_out();
  }
  set_deadline(server_.options.body_timeout);
  auto [body_error, body_bytes] = co_await http::async_read(socket_, buffer_, parser, kToken);
  if (body_error) {
    prepare_refusal(body_error);
    co_await write_out();
    co_return std::nullopt;
  }
  clear_deadline();
  incoming.request.body = std::move(parser.get().body());
  co_return incoming;
}

// The last words to a client whose bytes are not a request.
void HttpServer::Connection::prepare_refusal(const error_code& error) {
  std::optional<HttpResponse> response = answer_to_bad_bytes(error, server_.options);
  if (timed_out_) response = error_response(408, "The request did not arrive in time.");
  if (!response) return;
  unread_ = true;
  out_ = server_.last_response(*response);
}

// False when the connection is not to be used again.
asio::awaitable<bool> HttpServer::Connection::answer(Incoming& incoming) {
  channel_ = std::make_shared<ResponseChannel>(incoming.framing, server_.options.max_unsent_bytes,
                                               [&io = server_.io, weak = weak_from_this()] {
                                                 asio::post(io, [weak] {
                                                   const auto self = weak.lock();
                                                   if (!self) return;
                                                   if (self->channel_ && self->channel_->overflowed()) self->close();
                                                   self->wake();
                                                 });
                                               });
  // However this coroutine ends, the channel must not wake it afterwards.
  struct Detach {
    std::shared_ptr<ResponseChannel>& channel;
    ~Detach() { std::exchange(channel, nullptr)->detach(); }
  } detach{channel_};
  handle(incoming);
  const bool sent = co_await send_answer();
  if (!sent) channel_->abandon();
  co_return sent && channel_->keep_alive() && !server_.stopping;
}

void HttpServer::Connection::handle(Incoming& incoming) {
  if (incoming.refusal) {
    channel_->send(*incoming.refusal);
  } else if (incoming.request.body.size() <= server_.options.inline_body_bytes) {
    server_.router.handle(incoming.request, channel_);
  } else {
    asio::post(server_.worker, [&router = server_.router, request = std::move(incoming.request), channel = channel_] {
      router.handle(request, channel);
    });
  }
}

// Sends what the handler queues, as it comes. False when the answer could not be sent whole.
asio::awaitable<bool> HttpServer::Connection::send_answer() {
  for (;;) {
    const ResponseChannel::State state = channel_->take(out_);
    if (!out_.empty()) {
      const bool written = co_await write_out();
      if (!written) co_return false;
      if (state == ResponseChannel::State::open) continue;
    }
    if (state == ResponseChannel::State::complete) co_return true;
    if (peer_gone_) co_return false;
    watch();
    signal_.expires_after(server_.options.heartbeat_interval);
    const bool woken = co_await signal();
    if (!woken) channel_->heartbeat();
  }
}

// Sends `out_`. False when the reader is gone, or has taken nothing for too long.
asio::awaitable<bool> HttpServer::Connection::write_out() {
  for (size_t begin = 0; begin < out_.size();) {
    set_deadline(server_.options.write_timeout);
    auto [error, n_bytes] =
        co_await socket_.async_write_some(asio::buffer(out_.data() + begin, out_.size() - begin), kToken);
    if (error) co_return false;
    begin += n_bytes;
  }
  clear_deadline();
  co_return true;
}

// Waits for wake(). False when it does not come before signal_ expires.
asio::awaitable<bool> HttpServer::Connection::signal() {
  auto [error] = co_await signal_.async_wait(kToken);
  co_return static_cast<bool>(error);
}

// Reads beside the coroutine, to learn of a client that has gone. Bytes of a next request stay in the buffer.
void HttpServer::Connection::watch() {
  if (watching_ || peer_gone_ || buffer_.size() >= server_.options.max_header_bytes) return;
  watching_ = true;
  socket_.async_read_some(buffer_.prepare(kReadBytes), [self = shared_from_this()](error_code error, size_t n_bytes) {
    self->watching_ = false;
    self->buffer_.commit(n_bytes);
    if (error && error != asio::error::operation_aborted) self->peer_gone_ = true;
    self->wake();
  });
}

asio::awaitable<void> HttpServer::Connection::stop_watching() {
  if (!watching_) co_return;
  error_code ignored;
  std::ignore = socket_.cancel(ignored);
  while (watching_) {
    signal_.expires_after(kLingerTime);
    co_await signal();
  }
}

// Closing a socket with unread bytes resets the connection and may destroy the answer on its way, so they are read.
asio::awaitable<void> HttpServer::Connection::linger() {
  co_await stop_watching();
  error_code error;
  std::ignore = socket_.shutdown(tcp::socket::shutdown_send, error);
  set_deadline(kLingerTime);
  while (!error && !timed_out_) {
    buffer_.clear();
    std::tie(error, std::ignore) = co_await socket_.async_read_some(buffer_.prepare(kReadBytes), kToken);
  }
}

// Cancels what the socket does when the time is over.
void HttpServer::Connection::set_deadline(milliseconds timeout) {
  timed_out_ = false;
  deadline_.expires_after(timeout);
  deadline_.async_wait([self = shared_from_this()](error_code error) {
    if (error || self->deadline_.expiry() > steady_clock::now()) return;
    self->timed_out_ = true;
    std::ignore = self->socket_.cancel(error);
  });
}

// ---- the server, continued -----------------------------------------------------------------------------------------

void HttpServer::Server::run() {
  asio::co_spawn(io, accept_connections(), [](const std::exception_ptr& failure) {
    if (failure) std::rethrow_exception(failure);
  });
  io.run();
  worker.join();
}

const std::string& HttpServer::Server::date_header() {
  const int64_t second = options.now ? options.now() : std::time(nullptr);
  if (std::exchange(date_second_, second) != second) date_header_ = fmt::format("Date: {}\r\n", http_date(second));
  return date_header_;
}

std::string HttpServer::Server::last_response(const HttpResponse& response) {
  return response_head(response, {.keep_alive = false, .headers = date_header()}, response.body.size()) + response.body;
}

void HttpServer::Server::wait_for_signal() {
  signals_.async_wait([this](error_code error, int) {
    if (error) return;
    wait_for_signal();
    begin_stop();
  });
}

asio::awaitable<void> HttpServer::Server::accept_connections() {
  asio::steady_timer pause(io);
  for (;;) {
    auto [error, socket] = co_await acceptor_.async_accept(kToken);
    if (!acceptor_.is_open()) co_return;
    if (error) {
      log_warning("cannot accept a connection: {}", error.message());
      pause.expires_after(kAcceptPause);
      co_await pause.async_wait(kToken);
    } else if (connections_.size() >= options.max_connections) {
      refuse(std::move(socket));
    } else {
      start(std::move(socket));
    }
  }
}

// A few bytes into an empty send buffer: the call does not block.
void HttpServer::Server::refuse(tcp::socket socket) {
  const HttpResponse response = error_response(503, "The server has too many connections; try again later.");
  const std::string bytes = last_response(response);
  error_code ignored;
  std::ignore = socket.non_blocking(true, ignored);
  socket.write_some(asio::buffer(bytes), ignored);
  std::ignore = socket.shutdown(tcp::socket::shutdown_send, ignored);
}

void HttpServer::Server::start(tcp::socket socket) {
  error_code ignored;
  std::ignore = socket.set_option(tcp::no_delay(true), ignored);
  const auto connection = std::make_shared<Connection>(*this, std::move(socket));
  connections_.insert(connection);
  asio::co_spawn(io, connection->run(), [this, connection](const std::exception_ptr& failure) {
    connection->close();
    connections_.erase(connection);
    end_when_empty();
    try {
      if (failure) std::rethrow_exception(failure);
    } catch (const std::exception& e) {
      log_error("a connection failed: {}", e.what());
    }
  });
}

void HttpServer::Server::begin_stop() {
  if (stopping) return abandon_all();
  stopping = true;
  error_code ignored;
  std::ignore = acceptor_.close(ignored);
  for (const auto& connection : connections_) connection->wake();
  patience_.expires_after(options.shutdown_grace);
  patience_.async_wait([this](error_code error) {
    if (!error) abandon_all();
  });
  end_when_empty();
}

void HttpServer::Server::abandon_all() {
  for (const auto& connection : connections_) connection->abandon();
  patience_.expires_after(kLastWritesTime);
  patience_.async_wait([this](error_code error) {
    if (error) return;
    for (const auto& connection : connections_) connection->close();
  });
  end_when_empty();
}

void HttpServer::Server::end_when_empty() {
  if (!stopping || !connections_.empty()) return;
  patience_.cancel();
  signals_.cancel();
}

// ---- the public class ----------------------------------------------------------------------------------------------

HttpServer::HttpServer(const HttpOptions& options, const Router& router)
    : server_(std::make_unique<Server>(options, router)) {}
HttpServer::~HttpServer() = default;

uint16_t HttpServer::port() const {
  return server_->port();
}
void HttpServer::run() {
  server_->run();
}
void HttpServer::stop() {
  asio::post(server_->io, [server = server_.get()] { server->begin_stop(); });
}

}  // namespace arc::serve
