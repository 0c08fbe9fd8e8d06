// A blocking TCP client for tests that care for every byte.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace arc::testing {

class RawClient {
 public:
  explicit RawClient(uint16_t port);
  ~RawClient();
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;

  void send(std::string_view bytes);
  // Receives until `text` has been seen (what was read before is kept for the next call), and returns all up to its
  // end.
  std::string read_until(std::string_view text);
  // The next response, head and body: of a Content-Length, or in chunks.
  std::string read_response();
  // The body of a response whose head was read with read_until().
  std::string read_body(const std::string& head);
  // Everything until the server closes; ends early with "<timeout>" or "<reset>".
  std::string read_all();
  void close();
  // Closes so that the server sees a reset.
  void reset();
  // Makes the kernel hold little for this reader. Before any send.
  void use_small_buffer();

 private:
  // False at the end; appends to buffer_.
  bool receive();

  int socket_ = -1;
  std::string buffer_;
  std::string trouble_;
};

// A request with a JSON body.
std::string post(std::string_view path, std::string_view body, std::string_view more_headers = {});
std::string get(std::string_view path, std::string_view more_headers = {});

}  // namespace arc::testing
