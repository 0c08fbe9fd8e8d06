#include "tests/serve/raw_client.h"

#include <arpa/inet.h>
#include <cerrno>
#include <cstdlib>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>

#include "fmt/format.h"

#include "base/check.h"

namespace arc::testing {

constexpr int kTimeoutSeconds = 20;

RawClient::RawClient(uint16_t port) : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ARC_CHECK(::connect(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) << errno;
  const timeval timeout{.tv_sec = kTimeoutSeconds};
  ::setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
}

RawClient::~RawClient() {
  close();
}

void RawClient::send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n < 0) return;  // the server may refuse before it has read everything
    bytes.remove_prefix(static_cast<size_t>(n));
  }
}

std::string RawClient::read_until(std::string_view text) {
  for (;;) {
    const size_t found = buffer_.find(text);
    if (found != std::string::npos) {
      std::string result = buffer_.substr(0, found + text.size());
      buffer_.erase(0, found + text.size());
      return result;
    }
    if (!receive()) return std::exchange(buffer_, {}) + trouble_;
  }
}

std::string RawClient::read_response() {
  const std::string head = read_until("\r\n\r\n");
  return head + read_body(head);
}

std::string RawClient::read_body(const std::string& head) {
  constexpr std::string_view kLength = "Content-Length: ";
  const size_t at = head.find(kLength);
  if (at == std::string::npos) return read_until("\r\n0\r\n\r\n");
  const size_t n = std::strtoul(head.c_str() + at + kLength.size(), nullptr, 10);
  while (buffer_.size() < n && receive()) {
  }
  const std::string body = buffer_.substr(0, n);
  buffer_.erase(0, n);
  return body + trouble_;
}

std::string RawClient::read_all() {
  while (receive()) {
  }
  return std::exchange(buffer_, {}) + trouble_;
}

bool RawClient::receive() {
  char bytes[65536];
  const ssize_t n = ::recv(socket_, bytes, sizeof bytes, 0);
  if (n < 0) trouble_ = errno == ECONNRESET ? "<reset>" : "<timeout>";
  if (n <= 0) return false;
  buffer_.append(bytes, static_cast<size_t>(n));
  return true;
}

void RawClient::close() {
  if (socket_ >= 0) ::close(socket_);
  socket_ = -1;
}

void RawClient::reset() {
  const linger now{.l_onoff = 1, .l_linger = 0};
  ::setsockopt(socket_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
  close();
}

void RawClient::use_small_buffer() {
  const int size_bytes = 4096;
  ::setsockopt(socket_, SOL_SOCKET, SO_RCVBUF, &size_bytes, sizeof size_bytes);
}

std::string post(std::string_view path, std::string_view body, std::string_view more_headers) {
  return fmt::format("POST {} HTTP/1.1\r\nHost: test\r\n{}Content-Length: {}\r\n\r\n{}", path, more_headers,
                     body.size(), body);
}

std::string get(std::string_view path, std::string_view more_headers) {
  return fmt::format("GET {} HTTP/1.1\r\nHost: test\r\n{}\r\n", path, more_headers);
}

}  // namespace arc::testing
