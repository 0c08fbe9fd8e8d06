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
  std::string path;
  Handler handler;
  bool needs_key = true;  // when the server has an API key
};

class Router {
 public:
  // An empty `api_key` lets everybody in.
  explicit Router(std::vector<Route> routes, std::string api_key = {});

  // The answer to a request that no route takes (404, 405) or that lacks the key (401). Looks at the head only, so that
  // the server need not read the body first.
  std::optional<HttpResponse> refusal(const HttpRequest& head) const;

  // Runs the handler of a request that was not refused. What it throws becomes the answer.
  void handle(const HttpRequest& request, const std::shared_ptr<ResponseChannel>& channel) const;

 private:
  const Route* find(const HttpRequest& head) const;
  bool has_key(const HttpRequest& head) const;

  std::vector<Route> routes_;
  std::string api_key_;
};

}  // namespace arc::serve
