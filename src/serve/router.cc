#include "serve/router.h"

#include <algorithm>
#include <exception>
#include <utility>

#include "fmt/format.h"

#include "base/check.h"
#include "base/log.h"
#include "serve/api_error.h"

namespace arc::serve {
namespace {

// Takes a time that depends on the length of `given` only.
bool equal_in_constant_time(std::string_view given, std::string_view secret) {
  unsigned difference = given.size() != secret.size();
  for (size_t i = 0; i < given.size(); ++i) {
    difference |= static_cast<unsigned char>(given[i]) ^ static_cast<unsigned char>(secret[i % secret.size()]);
  }
  return difference == 0;
}

}  // namespace

Router::Router(std::vector<Route> routes, std::string api_key)
    : routes_(std::move(routes)), api_key_(std::move(api_key)) {}

const Route* Router::find(const HttpRequest& head) const {
  const auto found = std::ranges::find_if(
      routes_, [&](const Route& route) { return route.path == head.path && route.method == head.method; });
  return found == routes_.end() ? nullptr : &*found;
}

std::optional<HttpResponse> Router::refusal(const HttpRequest& head) const {
  if (const Route* route = find(head)) {
    if (!route->needs_key || has_key(head)) return std::nullopt;
    HttpResponse response =
        error_response(401, "This server wants an API key: send 'Authorization: Bearer KEY'.", {}, "invalid_api_key");
    response.headers.push_back({"WWW-Authenticate", "Bearer"});
    return response;
  }
  std::string allowed;
  for (const Route& route : routes_) {
    if (route.path == head.path) allowed += (allowed.empty() ? "" : ", ") + route.method;
  }
  if (allowed.empty()) return error_response(404, fmt::format("There is no route {} {}.", head.method, head.path));
  HttpResponse response = error_response(405, fmt::format("{} takes {}, not {}.", head.path, allowed, head.method));
  response.headers.push_back({"Allow", allowed});
  return response;
}

void Router::handle(const HttpRequest& request, const std::shared_ptr<ResponseChannel>& channel) const {
  const Route* route = find(request);
  ARC_CHECK(route != nullptr) << request.path;
  try {
    route->handler(request, channel);
  } catch (const Error& e) {
    channel->send(error_response(e));
  } catch (const std::exception& e) {
    log_error("{} {}: {}", request.method, request.path, e.what());
    channel->send(error_response(500, "The server failed on this request; its log says more."));
  }
}

bool Router::has_key(const HttpRequest& head) const {
  if (api_key_.empty()) return true;
  constexpr std::string_view kScheme = "Bearer ";
  std::string_view given = head.header("Authorization");
  if (!given.starts_with(kScheme)) return false;
  given.remove_prefix(kScheme.size());
  return equal_in_constant_time(given, api_key_);
}

}  // namespace arc::serve
