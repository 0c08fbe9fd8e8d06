// The routes of the server as a table.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "serve/http_message.h"
#include "serve/response_channel.h"

namespace arc::serve {

// Answers a request now or later, from any thread. May throw until it has begun to answer.
using Handler = std::function<void(const HttpRequest&, const std::shared_ptr<ResponseChannel>&)>;

struct Route {
  std::string method;
  std::string path;  // one that ends with "/*" takes every longer path
  Handler handler;
  bool needs_key = true;  // when the server has an API key
};

class Router {
 public:
  // An empty `api_key` lets everybody in. `allowed_origins` are the web sites ("https://example.org", or "*" for all)
  // whose pages may use this server.
  explicit Router(std::vector<Route> routes, std::string api_key = {}, std::vector<std::string> allowed_origins = {});

  // The answer to a request that no route takes (404, 405), that lacks the key (401), or by which a browser asks what
  // a page may do. Looks at the head only, so that the server need not read the body first.
  std::optional<HttpResponse> refusal(const HttpRequest& head) const;

  // What lets a page of an allowed origin read the answer (Fetch standard, section 3.2), as header lines.
  std::string origin_headers(const HttpRequest& head) const;

  // Runs the handler of a request that was not refused. What it throws becomes the answer.
  void handle(const HttpRequest& request, const std::shared_ptr<ResponseChannel>& channel) const;

 private:
  const Route* find(const HttpRequest& head) const;
  bool has_key(const HttpRequest& head) const;
  bool allows_origin(std::string_view origin) const;
  std::string methods_of(std::string_view path) const;

  std::vector<Route> routes_;
  std::string api_key_;
  std::vector<std::string> allowed_origins_;
};

}  // namespace arc::serve
