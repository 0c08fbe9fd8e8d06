// What passes between the HTTP server and its handlers, and the bytes that begin a response.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace arc::serve {

struct HttpHeader {
  std::string name;
  std::string value;
};

struct HttpRequest {
  std::string method;  // HEAD arrives as GET; the server leaves the body out of the answer
  std::string path;    // the target up to '?'
  std::vector<HttpHeader> headers = {};
  std::string body = {};

  // The value of the first header of that name (letters of either case), or empty.
  std::string_view header(std::string_view name) const;
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  std::vector<HttpHeader> headers;
  std::string body;
};

// The text with %XX as bytes; what is no such escape stays.
std::string percent_decoded(std::string_view text);

// "Mon, 23 Nov 2026 09:12:47 GMT" (RFC 9110, section 5.6.7).
std::string http_date(int64_t unix_seconds);

// How a response is framed on its connection.
struct Framing {
  bool http_1_0 = false;   // no chunks: the end of the connection ends a stream
  bool keep_alive = true;  // the connection stays open afterwards
  bool head_only = false;  // the answer to HEAD
  std::string headers;     // lines for every response, whole
};

// The status line and headers, up to and with the empty line. `body_bytes` absent: a stream of unknown length.
std::string response_head(const HttpResponse& response, const Framing& framing, std::optional<size_t> body_bytes);

// One chunk of the chunked transfer coding (RFC 9112, section 7.1); `data` must not be empty, as that would end it.
void append_chunk(std::string& out, std::string_view data);
inline constexpr std::string_view kLastChunk = "0\r\n\r\n";

}  // namespace arc::serve
