#include "serve/api_error.h"

#include "base/utf8.h"
#include "serve/json_text.h"

namespace arc::serve {
namespace {

constexpr size_t kMaxMessageBytes = 1024;
constexpr size_t kMaxParamBytes = 128;

int http_status(ErrorCode code) {
  switch (code) {
    case ErrorCode::invalid_argument:
    case ErrorCode::prompt_too_long:
    case ErrorCode::unsupported:
    case ErrorCode::corrupt_data:
      return 400;
    case ErrorCode::not_found:
      return 404;
    case ErrorCode::resource:
      return 429;
    case ErrorCode::io:
      break;
  }
  return 500;
}

std::string_view error_type(int status) {
  if (status == 429) return "rate_limit_error";
  return status >= 500 ? "server_error" : "invalid_request_error";
}

// Messages may quote what the client sent, which may be megabytes.
std::string_view cut(std::string_view text, size_t max_bytes) {
  if (text.size() <= max_bytes) return text;
  text = text.substr(0, max_bytes);
  return text.substr(0, utf8_complete_prefix(text));
}

void append_string_or_null(std::string& out, std::string_view text) {
  if (text.empty()) {
    out += "null";
  } else {
    append_json_string(out, text);
  }
}

}  // namespace

std::string error_json(int status, std::string_view message, std::string_view param, std::string_view api_code) {
  std::string out = R"({"error":{"message":)";
  append_json_string(out, cut(message, kMaxMessageBytes));
  out += R"(,"type":)";
  append_json_string(out, error_type(status));
  out += R"(,"param":)";
  append_string_or_null(out, cut(param, kMaxParamBytes));
  out += R"(,"code":)";
  append_string_or_null(out, api_code);
  out += "}}";
  return out;
}

HttpResponse error_response(int status, std::string_view message, std::string_view param, std::string_view api_code) {
  return {.status = status, .body = error_json(status, message, param, api_code)};
}

HttpResponse error_response(const Error& error) {
  const auto* refused = dynamic_cast<const RequestError*>(&error);
  const std::string_view param = refused ? std::string_view(refused->param()) : "";
  std::string_view api_code = refused ? std::string_view(refused->api_code()) : "";
  if (error.code() == ErrorCode::prompt_too_long) api_code = "context_length_exceeded";
  HttpResponse response = error_response(http_status(error.code()), error.what(), param, api_code);
  if (response.status == 429) response.headers.push_back({"Retry-After", "1"});
  return response;
}

}  // namespace arc::serve
