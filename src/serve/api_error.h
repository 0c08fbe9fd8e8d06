// Errors as clients see them: OpenAI's JSON form, and the HTTP status of each kind of arc::Error.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"
#include "serve/http_message.h"

namespace arc::serve {

// A request that is refused because of one of its parameters.
class RequestError : public Error {
 public:
  // `param` is the field's name ("stop[2]"); `api_code` a word for programs ("model_not_found"), or empty.
  RequestError(ErrorCode code, std::string param, const std::string& message, std::string api_code = {})
      : Error(code, message), param_(std::move(param)), api_code_(std::move(api_code)) {}
  const std::string& param() const { return param_; }
  const std::string& api_code() const { return api_code_; }

 private:
  std::string param_, api_code_;
};

// {"error": {"message", "type", "param", "code"}}; empty `param` and `api_code` become null. The type follows from the
// status. Long messages are cut.
std::string error_json(int status, std::string_view message, std::string_view param = {},
                       std::string_view api_code = {});

HttpResponse error_response(int status, std::string_view message, std::string_view param = {},
                            std::string_view api_code = {});

// The answer to a request that failed with `error`; 429 carries Retry-After.
HttpResponse error_response(const Error& error);

}  // namespace arc::serve
