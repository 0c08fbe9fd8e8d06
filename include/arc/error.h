// The exception that loading, configuration and request validation throw.
#pragma once

#include <stdexcept>
#include <string>

namespace arc {

enum class ErrorCode {
  invalid_argument,  // a request, option or config value is wrong
  prompt_too_long,   // it leaves no room for an answer within the model's context
  not_found,         // a file, model, tensor or route does not exist
  unsupported,       // understood, but this build or machine cannot do it
  corrupt_data,      // a file breaks its own format
  resource,          // memory, blocks, queue places
  io,                // the operating system refused
};

// `what()` names the thing and the remedy, in one or two sentences, ready for a terminal or an HTTP body.
class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ErrorCode code() const { return code_; }

 private:
  ErrorCode code_;
};

}  // namespace arc
