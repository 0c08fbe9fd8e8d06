// The bodies of /v1/completions, /v1/chat/completions, /v1/embeddings, /tokenize and /detokenize, read and checked
// field by field.
//
// The fields are OpenAI's and those that vLLM adds. A field that is neither known nor known to be harmless is refused:
// a misspelt `temperature` must not be ignored.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "arc/engine.h"

namespace arc::serve {

enum class Api { chat, completions, embeddings, tokenize, detokenize };

// What a request may ask for. Everything that can grow has an end.
struct RequestLimits {
  int32_t vocab_size = 0;  // token ids from the client are below it
  int32_t max_n = 128;
  size_t max_prompts = 256;
  size_t max_choices = 512;  // n times prompts
  size_t max_inputs = 2048;  // of /v1/embeddings
  int32_t max_logprobs = 20;
  size_t max_stop = 16;
  size_t max_stop_bytes = 1024;
  size_t max_stop_token_ids = 256;
  size_t max_logit_bias = 1024;
  size_t max_messages = 8192;
  size_t max_tools = 512;
};

struct ApiRequest {
  Api api = Api::completions;
  std::string model;              // as given; empty when absent
  std::vector<Request> requests;  // one per prompt; never empty
  bool stream = false;
  bool include_usage = false;  // a last chunk with the usage
  bool echo = false;           // the prompt's text comes before the answer's
  bool tokens_as_ids = false;  // in logprobs, tokens are written "token_id:N"
  bool base64 = false;         // vectors as base64 of their floats
  bool token_strings = false;  // /tokenize also shows the tokens as the tokenizer's file has them
};

// `defaults` for what the body leaves open. Throws RequestError that names the field, or Error when the body is not
// JSON.
ApiRequest parse_request(Api api, std::string_view body, const RequestLimits& limits,
                         const SamplingDefaults& defaults = {});

}  // namespace arc::serve
