#include "serve/http_message.h"

#include <algorithm>
#include <charconv>
#include <ctime>
#include <iterator>

#include "fmt/format.h"

namespace arc::serve {
namespace {

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

std::string_view reason_phrase(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 413:
      return "Content Too Large";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 503:
      return "Service Unavailable";
    default:
      return "";
  }
}

}  // namespace

std::string_view HttpRequest::header(std::string_view name) const {
  for (const HttpHeader& h : headers) {
    if (std::ranges::equal(h.name, name, {}, lower, lower)) return h.value;
  }
  return {};
}

std::string percent_decoded(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    uint8_t byte = 0;
    const std::string_view digits = text.substr(i, 3);
    const bool escape = digits.size() == 3 && digits[0] == '%' &&
                        std::from_chars(digits.data() + 1, digits.data() + 3, byte, 16).ptr == digits.data() + 3;
    out += escape ? static_cast<char>(byte) : text[i];
    if (escape) i += 2;
  }
  return out;
}

std::string http_date(int64_t unix_seconds) {
  const std::time_t time = unix_seconds;
  std::tm utc{};
  gmtime_r(&time, &utc);
  constexpr std::string_view kDays = "SunMonTueWedThuFriSat", kMonths = "JanFebMarAprMayJunJulAugSepOctNovDec";
  return fmt::format("{}, {:02} {} {} {:02}:{:02}:{:02} GMT", kDays.substr(static_cast<size_t>(utc.tm_wday) * 3, 3),
                     utc.tm_mday, kMonths.substr(static_cast<size_t>(utc.tm_mon) * 3, 3), utc.tm_year + 1900,
                     utc.tm_hour, utc.tm_min, utc.tm_sec);
}

std::string response_head(const HttpResponse& response, const Framing& framing, std::optional<size_t> body_bytes) {
  std::string out;
  const auto line = [&out]<typename... Args>(fmt::format_string<Args...> format, Args&&... args) {
    fmt::format_to(std::back_inserter(out), format, std::forward<Args>(args)...);
    out += "\r\n";
  };
  line("HTTP/1.1 {} {}", response.status, reason_phrase(response.status));
  line("Content-Type: {}", response.content_type);
  if (body_bytes) {
    line("Content-Length: {}", *body_bytes);
  } else if (!framing.http_1_0) {
    line("Transfer-Encoding: chunked");
  }
  if (!framing.keep_alive) {
    line("Connection: close");
  } else if (framing.http_1_0) {
    line("Connection: keep-alive");
  }
  out += framing.headers;
  for (const HttpHeader& h : response.headers) line("{}: {}", h.name, h.value);
  out += "\r\n";
  return out;
}

void append_chunk(std::string& out, std::string_view data) {
  fmt::format_to(std::back_inserter(out), "{:x}\r\n", data.size());
  out += data;
  out += "\r\n";
}

}  // namespace arc::serve
