// Tests of the route table: refusals, the key, and what becomes of exceptions.
#include "serve/router.h"

#include <stdexcept>
#include <string>

#include "gtest/gtest.h"

#include "serve/api_error.h"

namespace arc::serve {
namespace {

using Channel = std::shared_ptr<ResponseChannel>;

Router test_router() {
  return Router(
      {{"GET", "/open", [](const HttpRequest&, const Channel& c) { c->send({.body = "open"}); }, false},
       {"GET", "/both", [](const HttpRequest&, const Channel& c) { c->send({.body = "got"}); }},
       {"POST", "/both", [](const HttpRequest& r, const Channel& c) { c->send({.body = r.body}); }},
       {"POST", "/param",
        [](const HttpRequest&, const Channel&) {
          throw RequestError(ErrorCode::invalid_argument, "stop[1]", "bad", "word");
        }},
       {"GET", "/both/*", [](const HttpRequest& r, const Channel& c) { c->send({.body = r.path}); }},
       {"POST", "/busy", [](const HttpRequest&, const Channel&) { throw Error(ErrorCode::resource, "full"); }},
       {"POST", "/bug", [](const HttpRequest&, const Channel&) { throw std::logic_error("internal secret"); }}},
      "key");
}

int refused(const HttpRequest& request) {
  const auto refusal = test_router().refusal(request);
  return refusal ? refusal->status : 0;
}

std::string handled(const HttpRequest& request) {
  const auto channel = std::make_shared<ResponseChannel>(Framing{}, 1000, [] {});
  test_router().handle(request, channel);
  std::string bytes;
  EXPECT_EQ(channel->take(bytes), ResponseChannel::State::complete);
  return bytes;
}

TEST(Router, RefusesByTheHead) {
  const std::vector<HttpHeader> key = {{"authorization", "Bearer key"}};
  EXPECT_EQ(refused({.method = "GET", .path = "/open"}), 0);
  EXPECT_EQ(refused({.method = "GET", .path = "/both"}), 401);
  EXPECT_EQ(refused({.method = "GET", .path = "/both", .headers = key}), 0);
  EXPECT_EQ(refused({.method = "GET", .path = "/both", .headers = {{"Authorization", "Bearer keykey"}}}), 401);
  EXPECT_EQ(refused({.method = "GET", .path = "/both", .headers = {{"Authorization", "Bearer "}}}), 401);
  EXPECT_EQ(refused({.method = "GET", .path = "/both", .headers = {{"Authorization", "key"}}}), 401);
  EXPECT_EQ(refused({.method = "GET", .path = "/nowhere", .headers = key}), 404);
  const auto refusal = test_router().refusal({.method = "PUT", .path = "/both", .headers = key});
  ASSERT_TRUE(refusal);
  EXPECT_EQ(refusal->status, 405);
  EXPECT_EQ(refusal->headers.at(0).value, "GET, POST");
}

TEST(Router, AStarTakesEveryLongerPath) {
  EXPECT_TRUE(handled({.method = "GET", .path = "/both/a/b"}).ends_with("/both/a/b"));
  const std::vector<HttpHeader> key = {{"Authorization", "Bearer key"}};
  EXPECT_EQ(refused({.method = "GET", .path = "/both/", .headers = key}), 404);
  EXPECT_EQ(refused({.method = "POST", .path = "/both/a", .headers = key}), 405);
}

TEST(Router, LetsPagesOfAllowedOriginsOnly) {
  const auto head = [](std::string method, std::string origin, std::string path = "/a") {
    return HttpRequest{
        .method = std::move(method), .path = std::move(path), .headers = {{"Origin", std::move(origin)}}};
  };
  const std::vector<Route> routes = {{"POST", "/a", [](const HttpRequest&, const Channel&) {}}};
  const Router closed(routes), open(routes, "key", {"*"}),
      two(routes, "", {"https://a.example", "http://localhost:3000"});

  EXPECT_EQ(closed.origin_headers(head("POST", "https://a.example")), "");
  EXPECT_EQ(closed.refusal(head("OPTIONS", "https://a.example"))->status, 405);

  const std::string allowed = "Access-Control-Allow-Origin: https://a.example\r\n";
  EXPECT_EQ(two.origin_headers(head("POST", "https://a.example")), "Vary: Origin\r\n" + allowed);
  EXPECT_EQ(two.origin_headers(head("POST", "https://a.example.org")), "Vary: Origin\r\n");
  EXPECT_EQ(two.origin_headers({.method = "POST", .path = "/a"}), "Vary: Origin\r\n");
  EXPECT_EQ(two.refusal(head("OPTIONS", "https://b.example"))->status, 405);
  EXPECT_EQ(open.origin_headers(head("POST", "https://a.example")), "Vary: Origin\r\n" + allowed);

  // A browser asks without the key.
  const std::optional<HttpResponse> preflight = open.refusal(head("OPTIONS", "https://a.example"));
  ASSERT_TRUE(preflight);
  EXPECT_EQ(preflight->status, 200);
  EXPECT_EQ(preflight->headers.at(0).value, "POST");
  EXPECT_EQ(open.refusal(head("OPTIONS", "https://a.example", "/b"))->status, 404);
  EXPECT_EQ(open.refusal(head("POST", "https://a.example"))->status, 401);
}

TEST(Router, TurnsExceptionsIntoAnswers) {
  EXPECT_TRUE(handled({.method = "POST", .path = "/both", .body = "echo"}).ends_with("echo"));
  const std::string param = handled({.method = "POST", .path = "/param"});
  EXPECT_TRUE(param.starts_with("HTTP/1.1 400 "));
  EXPECT_TRUE(
      param.ends_with(R"({"error":{"message":"bad","type":"invalid_request_error","param":"stop[1]","code":"word"}})"));
  EXPECT_TRUE(handled({.method = "POST", .path = "/busy"}).starts_with("HTTP/1.1 429 "));
  const std::string bug = handled({.method = "POST", .path = "/bug"});
  EXPECT_TRUE(bug.starts_with("HTTP/1.1 500 "));
  EXPECT_EQ(bug.find("secret"), std::string::npos);
}

TEST(ErrorJson, CutsWhatClientsSent) {
  const std::string json = error_json(400, std::string(1'000'000, 'x'), std::string(1'000'000, 'y'));
  EXPECT_LT(json.size(), 2000u);
}

}  // namespace
}  // namespace arc::serve
