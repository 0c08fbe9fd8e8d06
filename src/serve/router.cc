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

bool takes(const Route& route, std::string_view path) {
  if (!route.path.ends_with("/*")) return route.path == path;
  const std::string_view begin = std::string_view(route.path).substr(0, route.path.size() - 1);
  return path.starts_with(begin) && path.size() > begin.size();
}

}  // namespace

Router::Router(std::vector<Route> routes, std::string api_key, std::vector<std::string> allowed_origins)
    : routes_(std::move(routes)), api_key_(std::move(api_key)), allowed_origins_(std::move(allowed_origins)) {}

const Route* Router::find(const HttpRequest& head) const {
  const auto found = std::ranges::find_if(
      routes_, [&](const Route& route) { return route.method == head.method && takes(route, head.path); });
  return found == routes_.end() ? nullptr : &*found;
}

std::string Router::methods_of(std::string_view path) const {
  std::string methods;
  for (const Route& route : routes_) {
    if (takes(route, path)) methods += (methods.empty() ? "" : ", ") + route.method;
  }
  return methods;
}

std::optional<HttpResponse> Router::refusal(const HttpRequest& head) const {
  if (const Route* route = find(head)) {
    if (!route->needs_key || has_key(head)) return std::nullopt;
    HttpResponse response =
        error_response(401, "This server wants an API key: send 'Authorization: Bearer KEY'.", {}, "invalid_api_key");
    response.headers.push_back({"WWW-Authenticate", "Bearer"});
    return response;
  }
  const std::string allowed = methods_of(head.path);
  if (allowed.empty()) return error_response(404, fmt::format("There is no route {} {}.", head.method, head.path));
  if (head.method == "OPTIONS" && allows_origin(head.header("Origin"))) {
    return HttpResponse{.content_type = "text/plain",
                        .headers = {{"Access-Control-Allow-Methods", allowed},
                                    {"Access-Control-Allow-Headers", "Authorization, *"},
                                    {"Access-Control-Max-Age", "86400"}}};
  }
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

bool Router::allows_origin(std::string_view origin) const {
  return !origin.empty() && std::ranges::any_of(allowed_origins_, [&](const std::string& allowed) {
    return allowed == "*" || allowed == origin;
  });
}

std::string Router::origin_headers(const HttpRequest& head) const {
  if (allowed_origins_.empty()) return {};
  const std::string_view origin = head.header("Origin");
  std::string lines = "Vary: Origin\r\n";
  if (allows_origin(origin)) lines += fmt::format("Access-Control-Allow-Origin: {}\r\n", origin);
  return lines;
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
