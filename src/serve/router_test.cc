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
