// The server on real loopback connections: what clients do to it, and what it must survive.
#include <chrono>
#include <csignal>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "fmt/format.h"
#include "gtest/gtest.h"

#include "base/error.h"
#include "tests/serve/raw_client.h"
#include "tests/serve/test_server.h"

namespace arc::testing {
namespace {

using namespace std::chrono_literals;

constexpr const char* kCompletions = "/v1/completions";
constexpr const char* kChat = "/v1/chat/completions";
constexpr std::string_view kStreamEnd = "data: [DONE]\n\n\r\n0\r\n\r\n";
// An answer that goes on until somebody stops it.
constexpr const char* kEndless = R"({"prompt":"on and on","stream":true,"ignore_eos":true,"max_tokens":100000000})";

// The same with much to read.
std::string endless_and_wide() {
  return fmt::format(R"({{"prompt":"{}","stream":true,"ignore_eos":true,"max_tokens":100000000}})",
                     std::string(5000, 'w'));
}

bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

int status_of(const std::string& response) {
  return response.size() < 12 ? 0 : std::stoi(response.substr(9, 3));
}

size_t count(const std::string& text, std::string_view part) {
  size_t n = 0;
  for (size_t at = 0; (at = text.find(part, at)) != std::string::npos; at += part.size()) ++n;
  return n;
}

// Waits up to ten seconds.
bool eventually(const std::function<bool()>& condition) {
  for (int i = 0; i < 1000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(10ms);
  }
  return false;
}

// Every request that the engine took has come to one of its ends.
bool accounted(const FakeEngine& engine) {
  const EngineStats s = engine.stats();
  return s.running == 0 && s.requests_total == s.requests_finished + s.requests_cancelled + s.requests_failed;
}

TEST(Socket, KeepsConnectionsAlive) {
  TestServer server;
  RawClient client(server.port());
  for (int i = 0; i < 50; ++i) {
    client.send(post(kCompletions, R"({"prompt":"one two"})"));
    EXPECT_TRUE(contains(client.read_response(), R"("text":"one two")"));
    client.send(get("/nowhere"));
    EXPECT_EQ(status_of(client.read_response()), 404);
  }
}

TEST(Socket, AnswersPipelinedRequestsInOrder) {
  TestServer server;
  RawClient client(server.port());
  std::string all;
  for (int i = 0; i < 20; ++i) all += post(kCompletions, fmt::format(R"({{"prompt":"request {}"}})", i));
  client.send(all);
  for (int i = 0; i < 20; ++i) {
    EXPECT_TRUE(contains(client.read_response(), fmt::format("\"text\":\"request {}\"", i))) << i;
  }
}

TEST(Socket, ReadsRequestsInAnyPieces) {
  TestServer server;
  RawClient client(server.port());
  const std::string request = post(kCompletions, R"({"prompt":"piece by piece"})");
  for (const char byte : request) {
    client.send(std::string_view(&byte, 1));
    std::this_thread::sleep_for(100us);
  }
  EXPECT_TRUE(contains(client.read_response(), "piece by piece"));
}

TEST(Socket, ReadsChunkedBodiesAndSaysContinue) {
  TestServer server;
  RawClient client(server.port());
  client.send("POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(client.read_until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  client.send("a;x=1\r\n{\"prompt\":\r\n9\r\n\"in two\"}\r\n0\r\n\r\n");
  EXPECT_TRUE(contains(client.read_response(), R"("text":"in two")"));
}

TEST(Socket, IgnoresEmptyLinesBetweenRequests) {
  TestServer server;
  RawClient client(server.port());
  client.send("\r\n" + get("/health") + "\r\n\r\n" + get("/health") + "\r\n");
  EXPECT_EQ(status_of(client.read_response()), 200);
  EXPECT_EQ(status_of(client.read_response()), 200);
  client.send(get("/health"));
  EXPECT_EQ(status_of(client.read_response()), 200);
}

TEST(Socket, HandlesLargeBodiesOnTheSecondThread) {
  TestServer server({.http = {.inline_body_bytes = 100}});
  RawClient client(server.port());
  const std::string ignored(50'000, 'x');
  client.send(post(kCompletions, fmt::format(R"({{"prompt":"large","user":"{}"}})", ignored)));
  EXPECT_TRUE(contains(client.read_response(), R"("text":"large")"));
}

TEST(Socket, HeadHasNoBodyAndOldClientsGetNoChunks) {
  TestServer server;
  RawClient client(server.port());
  client.send("HEAD /health HTTP/1.1\r\nHost: x\r\n\r\n" + get("/health"));
  EXPECT_TRUE(contains(client.read_until("\r\n\r\n"), "\r\nContent-Length: 15\r\n"));
  EXPECT_TRUE(client.read_response().ends_with("\r\n\r\n{\"status\":\"ok\"}"));

  RawClient old(server.port());
  const std::string body = R"({"prompt":"a b","stream":true})";
  old.send(fmt::format("POST /v1/completions HTTP/1.0\r\nContent-Length: {}\r\n\r\n{}", body.size(), body));
  const std::string response = old.read_all();
  EXPECT_TRUE(contains(response, "Connection: close\r\n")) << response;
  EXPECT_FALSE(contains(response, "chunked")) << response;
  EXPECT_TRUE(response.ends_with("\n\ndata: [DONE]\n\n")) << response;
}

TEST(Socket, RefusesWhatIsNotHttpAndCloses) {
  TestServer server({.http = {.max_header_bytes = 2000, .max_body_bytes = 1000}});
  const std::string long_header = get("/health", "X: " + std::string(4000, 'x') + "\r\n");
  const struct {
    std::string bytes;
    int status;
  } cases[] = {
      {"\x16\x03\x01 this is TLS\r\n\r\n", 400},
      {"GET\r\n\r\n", 400},
      {"GET /health HTTP/1.1\r\n\r\n", 400},  // no Host
      {"GET /health HTTP/1.1\r\nHost: x\r\nBad Header\r\n\r\n", 400},
      {long_header, 431},
      {post(kCompletions, std::string(1001, ' ')), 413},
      {"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n", 413},
      {"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400},
      {"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcde", 400},
      {"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nabcde", 400},
      {"POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n{}", 400},
      {"POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400},
      {"POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n", 400},
      {"POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n401\r\n" + std::string(2000, ' '),
       413},
      {"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n", 404},  // not read
  };
  for (const auto& c : cases) {
    RawClient client(server.port());
    client.send(c.bytes);
    const std::string response = client.read_all();
    EXPECT_EQ(status_of(response), c.status) << c.bytes.substr(0, 200) << "\n" << response;
    EXPECT_TRUE(contains(response, "Connection: close\r\n")) << response;
    EXPECT_TRUE(contains(response, R"({"error":{"message":")")) << response;
    EXPECT_FALSE(contains(response, "<")) << c.bytes.substr(0, 200) << "\n" << response;  // no reset, no timeout
  }
  EXPECT_EQ(server.engine.stats().requests_total, 0);
}

TEST(Socket, SlowRequestsTimeOut) {
  TestServer server({.http = {.idle_timeout = 100ms, .header_timeout = 150ms, .body_timeout = 150ms}});
  RawClient slow_head(server.port()), slow_body(server.port()), idle(server.port());
  slow_head.send("GET /health HT");
  slow_body.send("POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{\"prompt\"");
  EXPECT_EQ(idle.read_all(), "");
  EXPECT_EQ(status_of(slow_head.read_all()), 408);
  EXPECT_EQ(status_of(slow_body.read_all()), 408);
}

TEST(Socket, ACutBodyIsRefusedAndSurplusBytesAreTheNextRequest) {
  TestServer server;
  RawClient client(server.port());
  client.send(
      "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 14\r\n\r\n{\"prompt\":\"a\"} surplus\r\n\r\n");
  const std::string responses = client.read_all();
  EXPECT_EQ(status_of(responses), 200);
  EXPECT_EQ(count(responses, "HTTP/1.1 400"), 1u);
}

TEST(Socket, ADisconnectCancelsStreamsAndWholeAnswers) {
  TestServer server({.engine = {.token_delay = 1ms}});
  const std::string endless_whole = R"({"prompt":"on","ignore_eos":true,"max_tokens":100000000})";
  const std::vector<std::string> requests = {post(kCompletions, kEndless), post(kCompletions, endless_whole)};
  int64_t n = 0;
  for (const std::string& request : requests) {
    for (const bool reset : {false, true}) {
      RawClient client(server.port());
      client.send(request);
      ASSERT_TRUE(eventually([&] { return server.engine.stats().running == 1; }));
      reset ? client.reset() : client.close();
      ++n;
      EXPECT_TRUE(eventually([&] { return server.engine.stats().requests_cancelled == n; })) << n;
    }
  }
  EXPECT_TRUE(accounted(server.engine));
}

TEST(Socket, OneHundredStreamsAtATime) {
  TestServer server({.engine = {.token_delay = 200us}});
  constexpr int kClients = 100;
  std::vector<std::unique_ptr<RawClient>> clients;
  for (int i = 0; i < kClients; ++i) {
    clients.push_back(std::make_unique<RawClient>(server.port()));
    clients.back()->send(post(kChat, fmt::format(R"({{"messages":[{{"role":"user","content":"client {} speaks"}}],)"
                                                 R"("stream":true,"ignore_eos":true,"max_tokens":30}})",
                                                 i)));
  }
  for (int i = 0; i < kClients; ++i) {
    const std::string response = clients[static_cast<size_t>(i)]->read_until(kStreamEnd);
    EXPECT_EQ(count(response, R"("delta":{"content":)"), 30u) << i;
    EXPECT_EQ(count(response, fmt::format("\"content\":\" {}\"", i)), 10u) << i;
  }
  EXPECT_TRUE(eventually([&] { return server.engine.stats().requests_finished == kClients; }));
}

TEST(Socket, ASlowReaderSlowsOnlyItselfAndIsGivenUpInTheEnd) {
  TestServer server({.engine = {.token_delay = 50us}, .http = {.max_unsent_bytes = 200'000}});
  RawClient slow(server.port());
  slow.use_small_buffer();
  slow.send(post(kCompletions, endless_and_wide()));  // and never reads
  ASSERT_TRUE(eventually([&] { return server.engine.stats().running == 1; }));
  RawClient other(server.port());
  for (int i = 0; i < 20; ++i) {
    other.send(post(kCompletions, R"({"prompt":"quick","stream":true})"));
    EXPECT_TRUE(other.read_response().ends_with(kStreamEnd));
  }
  EXPECT_TRUE(eventually([&] { return server.engine.stats().requests_cancelled == 1; }));
}

TEST(Socket, AStuckReaderTimesOut) {
  TestServer server({.engine = {.token_delay = 20us}, .http = {.write_timeout = 200ms}});
  RawClient stuck(server.port());
  stuck.use_small_buffer();
  stuck.send(post(kCompletions, endless_and_wide()));
  EXPECT_TRUE(eventually([&] { return server.engine.stats().requests_cancelled == 1; }));
}

TEST(Socket, ASilentStreamHasAHeartbeat) {
  TestServer server({.http = {.heartbeat_interval = 50ms}});
  server.engine.hold(true);
  RawClient client(server.port());
  client.send(post(kCompletions, R"({"prompt":"patience","stream":true})"));
  EXPECT_TRUE(contains(client.read_until("\n\n\r\n"), "\r\n: "));
  server.engine.hold(false);
  EXPECT_TRUE(contains(client.read_until(kStreamEnd), R"("text":"patience")"));
}

TEST(Socket, OneConnectionTooManyIsRefused) {
  TestServer server({.http = {.max_connections = 2}});
  RawClient a(server.port()), b(server.port());
  for (RawClient* client : {&a, &b}) {
    client->send(get("/health"));
    client->read_response();
  }
  RawClient c(server.port());
  EXPECT_EQ(status_of(c.read_all()), 503);
  a.close();
  EXPECT_TRUE(eventually([&] {
    RawClient d(server.port());
    d.send(get("/health", "Connection: close\r\n"));
    return status_of(d.read_all()) == 200;
  }));
}

TEST(Socket, AFullQueueIsAnswered429) {
  TestServer server({.engine = {.max_queue = 1}});
  server.engine.hold(true);
  RawClient first(server.port()), second(server.port());
  first.send(post(kCompletions, R"({"prompt":"one"})"));
  ASSERT_TRUE(eventually([&] { return server.engine.stats().running == 1; }));
  second.send(post(kCompletions, R"({"prompt":"two"})"));
  const std::string refused = second.read_response();
  EXPECT_EQ(status_of(refused), 429);
  EXPECT_TRUE(contains(refused, "\r\nRetry-After: 1\r\n")) << refused;
  // Of a list of prompts, none is answered when one finds no place.
  server.engine.hold(false);
  EXPECT_EQ(status_of(first.read_response()), 200);
  ASSERT_TRUE(eventually([&] { return server.engine.stats().running == 0; }));
  server.engine.hold(true);
  second.send(post(kCompletions, R"({"prompt":["one","two"],"stream":true})"));
  EXPECT_EQ(status_of(second.read_response()), 429);
  server.engine.hold(false);
  EXPECT_TRUE(eventually([&] { return accounted(server.engine); }));
  EXPECT_EQ(server.engine.stats().requests_cancelled, 1);
}

TEST(Socket, EngineErrorsReachTheClient) {
  TestServer server({.engine = {.fail_after = 2}});
  RawClient client(server.port());
  client.send(post(kCompletions, R"({"prompt":"a b c d","stream":true})"));
  const std::string stream = client.read_response();
  EXPECT_EQ(count(stream, R"("text":)"), 2u);
  EXPECT_TRUE(contains(stream, R"(data: {"error":{"message":"The device stopped answering.","type":"server_error")"));
  EXPECT_TRUE(stream.ends_with(kStreamEnd));
  client.send(post(kCompletions, R"({"prompt":"a b c d"})"));
  EXPECT_EQ(status_of(client.read_response()), 500);
  server.engine.break_down("device 0 is lost");
  for (const std::string& request : {get("/health"), post(kCompletions, R"({"prompt":"a"})")}) {
    client.send(request);
    const std::string response = client.read_response();
    EXPECT_EQ(status_of(response), 503);
    EXPECT_TRUE(contains(response, "device 0 is lost"));
  }
}

TEST(Socket, TheKeyIsAskedForBeforeTheBodyIsRead) {
  TestServer server({.api_key = "secret-key"});
  const auto status_with = [&](const std::string& request) {
    RawClient client(server.port());
    client.send(request);
    return status_of(client.read_response());
  };
  EXPECT_EQ(status_with(get("/health")), 200);
  EXPECT_EQ(status_with(get("/v1/models")), 401);
  for (const char* wrong : {"secret-ke", "secret-keys", "SECRET-KEY", ""}) {
    EXPECT_EQ(status_with(get("/v1/models", fmt::format("Authorization: Bearer {}\r\n", wrong))), 401) << wrong;
  }
  EXPECT_EQ(status_with(get("/v1/models", "Authorization: Basic secret-key\r\n")), 401);
  EXPECT_EQ(status_with(get("/v1/models", "authorization: Bearer secret-key\r\n")), 200);
  EXPECT_EQ(status_with("POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"), 401);
}

TEST(Socket, EveryAnswerHasADateAndLetsAllowedPagesReadIt) {
  TestServer server({.http = {.max_body_bytes = 1000, .now = [] { return int64_t{784111777}; }},
                     .api_key = "key",
                     .allowed_origins = {"https://page.example"}});
  const std::string origin = "Origin: https://page.example\r\n", key = "Authorization: Bearer key\r\n";
  const std::string body = R"({"prompt":"a","stream":true})";
  RawClient client(server.port());
  client.send("OPTIONS /v1/completions HTTP/1.1\r\nHost: x\r\nAccess-Control-Request-Method: POST\r\n" + origin +
              "\r\n");
  const std::string preflight = client.read_response();
  EXPECT_EQ(status_of(preflight), 200);
  EXPECT_TRUE(contains(preflight, "\r\nAccess-Control-Allow-Methods: POST\r\n")) << preflight;
  for (const std::string& request :
       {post(kCompletions, body, origin + key), get("/v1/models", origin), get("/nowhere", origin)}) {
    client.send(request);
    const std::string answer = client.read_response();
    EXPECT_TRUE(contains(answer, "\r\nAccess-Control-Allow-Origin: https://page.example\r\n")) << answer;
    EXPECT_TRUE(contains(answer, "\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n")) << answer;
  }
  client.send(get("/health", "Origin: https://other.example\r\n"));
  EXPECT_FALSE(contains(client.read_response(), "Access-Control-Allow-Origin"));
  client.send("nonsense\r\n\r\n");
  EXPECT_TRUE(contains(client.read_all(), "\r\nDate: "));
}

TEST(Shutdown, LetsRunningRequestsFinishAndTakesNoNewOnes) {
  TestServer server({.engine = {.token_delay = 5ms}});
  RawClient idle(server.port()), stream(server.port()), whole(server.port());
  idle.send(get("/health"));
  EXPECT_EQ(status_of(idle.read_response()), 200);
  stream.send(post(kCompletions, R"({"prompt":"a b","stream":true,"ignore_eos":true,"max_tokens":40})"));
  whole.send(post(kCompletions, R"({"prompt":"a b","ignore_eos":true,"max_tokens":40})"));
  ASSERT_TRUE(eventually([&] { return server.engine.stats().running == 2; }));
  server.stop();
  EXPECT_EQ(idle.read_all(), "");
  EXPECT_EQ(count(stream.read_all(), R"("text":)"), 40u);
  EXPECT_EQ(status_of(whole.read_all()), 200);
  server.join();
  EXPECT_TRUE(eventually([&] { return server.engine.stats().requests_finished == 2; }));
}

TEST(Shutdown, EndsTheRestWithAnErrorAfterTheGrace) {
  TestServer server({.engine = {.token_delay = 1ms}, .http = {.shutdown_grace = 100ms}});
  RawClient stream(server.port()), whole(server.port());
  stream.send(post(kCompletions, kEndless));
  whole.send(post(kCompletions, R"({"prompt":"on","ignore_eos":true,"max_tokens":100000000})"));
  ASSERT_TRUE(eventually([&] { return server.engine.stats().running == 2; }));
  server.stop();
  const std::string streamed = stream.read_all();
  EXPECT_TRUE(contains(streamed, R"(data: {"error":{"message":"The request was cancelled: the server is)")) << streamed;
  EXPECT_TRUE(streamed.ends_with(kStreamEnd));
  EXPECT_EQ(status_of(whole.read_all()), 503);
  server.join();
  EXPECT_TRUE(eventually([&] { return server.engine.stats().requests_cancelled == 2; }));
}

TEST(Shutdown, DoesNotWaitForHalfARequest) {
  TestServer server({.http = {.shutdown_grace = 100ms}});
  RawClient half(server.port());
  half.send("POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{");
  server.stop();
  const auto begin = std::chrono::steady_clock::now();
  server.join();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 5s);
}

TEST(Shutdown, SignalsStopTheServer) {
  TestServer server({.engine = {.token_delay = 1ms}, .http = {.stop_on_signals = true}});
  RawClient client(server.port());
  client.send(post(kCompletions, kEndless));
  client.read_until("data: ");
  std::raise(SIGTERM);  // begins the grace
  std::this_thread::sleep_for(50ms);
  EXPECT_EQ(server.engine.stats().running, 1);
  std::raise(SIGINT);  // ends it
  EXPECT_TRUE(client.read_all().ends_with(kStreamEnd));
  server.join();
}

TEST(Server, NamesAnAddressThatIsTaken) {
  TestServer server;
  const serve::Router router({});
  try {
    serve::HttpServer second({.port = server.port()}, router);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::io);
    EXPECT_TRUE(contains(e.what(), std::to_string(server.port()))) << e.what();
  }
}

// Clients that come, read a little and vanish, and clients that stay; in the end the books balance.
TEST(Server, SurvivesRandomTraffic) {
  TestServer server({.engine = {.token_delay = 100us}, .http = {.max_unsent_bytes = 20'000}});
  constexpr int kThreads = 8, kRounds = 25;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&server, t] {
      for (int i = 0; i < kRounds; ++i) {
        RawClient client(server.port());
        switch ((t * 7 + i) % 5) {
          case 0:
            client.send(post(kCompletions, kEndless));
            client.read_until("data: ");
            client.reset();
            break;
          case 1:
            client.send(post(kCompletions, kEndless));
            break;
          case 2:
            client.send(post(kCompletions, R"({"prompt":["a b c","d e"],"n":3,"stream":true})"));
            EXPECT_TRUE(client.read_response().ends_with(kStreamEnd));
            break;
          case 3:
            client.send(post(kChat, R"({"messages":[{"role":"user","content":"whole"}]})"));
            EXPECT_EQ(status_of(client.read_response()), 200);
            break;
          default:
            client.send("POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{");
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(eventually([&] { return accounted(server.engine); }));
}

}  // namespace
}  // namespace arc::testing
