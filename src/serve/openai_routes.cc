#include "serve/openai_routes.h"

#include <atomic>
#include <chrono>
#include <memory>
#include <random>
#include <utility>

#include "fmt/format.h"
#include "fmt/ranges.h"

#include "serve/answer.h"
#include "serve/api_error.h"
#include "serve/embedding_answer.h"
#include "serve/json_text.h"
#include "serve/metrics.h"
#include "serve/openai_response.h"

namespace arc::serve {
namespace {

using Channel = std::shared_ptr<ResponseChannel>;

constexpr std::string_view kModelPath = "/v1/models/";

std::function<std::string()> random_ids() {
  std::random_device device;
  const uint64_t process = (uint64_t{device()} << 32) | device();
  return [process, next = std::make_shared<std::atomic<uint32_t>>(0)] {
    return fmt::format("{:016x}{:08x}", process, next->fetch_add(1));
  };
}

int64_t system_seconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

// Everything the handlers share.
class Service {
 public:
  Service(Engine& engine, ApiOptions options) : engine_(engine), model_(engine.info()), options_(std::move(options)) {
    options_.limits.vocab_size = model_.vocab_size;
    if (!options_.make_id) options_.make_id = random_ids();
    if (!options_.now) options_.now = system_seconds;
  }

  void health(const Channel& channel) const {
    if (!refuse_when_unhealthy(channel)) channel->send({.body = R"({"status":"ok"})"});
  }

  void metrics(const Channel& channel) const {
    channel->send({.content_type = kMetricsContentType, .body = metrics_text(engine_.stats())});
  }

  void models(const Channel& channel) const {
    channel->send({.body = fmt::format(R"({{"object":"list","data":[{}]}})", model_json())});
  }

  void model(const HttpRequest& http, const Channel& channel) const {
    check_model(percent_decoded(http.path.substr(kModelPath.size())));
    channel->send({.body = model_json()});
  }

  void tokenize(const HttpRequest& http, const Channel& channel) const {
    const ApiRequest request = parse_request(Api::tokenize, http.body, options_.limits);
    check_model(request.model);
    const std::vector<int32_t> tokens = engine_.tokenize(request.requests[0].prompt);
    std::string strings;
    for (size_t i = 0; request.token_strings && i < tokens.size(); ++i) {
      strings += i > 0 ? "," : "[";
      append_json_string(strings, engine_.token_text(tokens[i]));
    }
    if (request.token_strings) strings += tokens.empty() ? "[]" : "]";
    channel->send(
        {.body = fmt::format(R"({{"count":{},"max_model_len":{},"tokens":[{}],"token_strs":{}}})", tokens.size(),
                             model_.max_seq_len, fmt::join(tokens, ","), request.token_strings ? strings : "null")});
  }

  void detokenize(const HttpRequest& http, const Channel& channel) const {
    const ApiRequest request = parse_request(Api::detokenize, http.body, options_.limits);
    check_model(request.model);
    HttpResponse response{.body = R"({"prompt":)"};
    append_json_string(response.body, engine_.detokenize(std::get<TokenPrompt>(request.requests[0].prompt).tokens));
    response.body += '}';
    channel->send(response);
  }

  void embed(const HttpRequest& http, const Channel& channel) const {
    if (refuse_when_unhealthy(channel)) return;
    ApiRequest request = parse_request(Api::embeddings, http.body, options_.limits);
    check_model(request.model);
    std::make_shared<EmbeddingAnswer>(engine_, model_.name, std::move(request), channel)->submit();
  }

  void generate(Api api, const HttpRequest& http, const Channel& channel) const {
    if (refuse_when_unhealthy(channel)) return;
    ApiRequest request = parse_request(api, http.body, options_.limits, model_.sampling);
    check_model(request.model);
    AnswerHead head{.api = api,
                    .id = (api == Api::chat ? "chatcmpl-" : "cmpl-") + options_.make_id(),
                    .created = options_.now(),
                    .model = model_.name};
    std::make_shared<Answer>(engine_, std::move(head), std::move(request), channel)->submit();
  }

 private:
  bool refuse_when_unhealthy(const Channel& channel) const {
    std::string reason;
    if (engine_.healthy(&reason)) return false;
    channel->send(error_response(503, fmt::format("The engine has stopped: {}", reason)));
    return true;
  }

  void check_model(const std::string& name) const {
    if (name.empty() || name == "default" || name == model_.name) return;
    throw RequestError(ErrorCode::not_found, "model",
                       fmt::format("This server has no model of that name; it has '{}'.", model_.name),
                       "model_not_found");
  }

  std::string model_json() const {
    std::string json = R"({"id":)";
    append_json_string(json, model_.name);
    return json + fmt::format(R"(,"object":"model","created":{},"owned_by":"arc","max_model_len":{}}})", model_.created,
                              model_.max_seq_len);
  }

  Engine& engine_;
  const ModelInfo model_;
  ApiOptions options_;
};

}  // namespace

std::vector<Route> openai_routes(Engine& engine, ApiOptions options) {
  const auto service = std::make_shared<const Service>(engine, std::move(options));
  return {
      {"GET", "/health", [=](const HttpRequest&, const Channel& c) { service->health(c); }, false},
      {"GET", "/metrics", [=](const HttpRequest&, const Channel& c) { service->metrics(c); }, false},
      {"GET", "/v1/models", [=](const HttpRequest&, const Channel& c) { service->models(c); }},
      {"GET", std::string(kModelPath) + "*", [=](const HttpRequest& r, const Channel& c) { service->model(r, c); }},
      {"POST", "/tokenize", [=](const HttpRequest& r, const Channel& c) { service->tokenize(r, c); }},
      {"POST", "/detokenize", [=](const HttpRequest& r, const Channel& c) { service->detokenize(r, c); }},
      {"POST", "/v1/completions",
       [=](const HttpRequest& r, const Channel& c) { service->generate(Api::completions, r, c); }},
      {"POST", "/v1/embeddings", [=](const HttpRequest& r, const Channel& c) { service->embed(r, c); }},
      {"POST", "/v1/chat/completions",
       [=](const HttpRequest& r, const Channel& c) { service->generate(Api::chat, r, c); }},
  };
}

}  // namespace arc::serve
