// The routes that OpenAI clients use, over any arc::Engine.
//
//   GET  /health               200, or 503 with the reason
//   GET  /metrics              Prometheus text
//   GET  /v1/models            the loaded model
//   GET  /v1/models/NAME       the same, 404 for another name
//   POST /tokenize             a text or a conversation as token ids
//   POST /detokenize           token ids as a text
//   POST /v1/completions       whole, or a stream of server-sent events
//   POST /v1/embeddings        vectors of texts
//   POST /v1/chat/completions  whole, or a stream of server-sent events
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "arc/engine.h"
#include "serve/openai_request.h"
#include "serve/router.h"

namespace arc::serve {

struct ApiOptions {
  RequestLimits limits;                  // vocab_size is taken from the model
  std::function<std::string()> make_id;  // what follows "chatcmpl-" or "cmpl-"; absent: unique in the world
  std::function<int64_t()> now;          // unix seconds; absent: the system's clock
};

// `engine` outlives the routes. /health and /metrics need no API key.
std::vector<Route> openai_routes(Engine& engine, ApiOptions options = {});

}  // namespace arc::serve
