// Tests of the response channel and of the bytes that frame a response.
#include "serve/response_channel.h"

#include <string>
#include <thread>

#include "gtest/gtest.h"

namespace arc::serve {
namespace {

using State = ResponseChannel::State;

struct Harness {
  explicit Harness(Framing framing = {}, size_t max_unsent_bytes = 1000)
      : channel(framing, max_unsent_bytes, [this] { ++n_wakes; }) {}
  std::string take() {
    std::string bytes;
    state = channel.take(bytes);
    return bytes;
  }
  int n_wakes = 0;
  State state = State::open;
  ResponseChannel channel;
};

TEST(ResponseChannel, FramesAWholeResponse) {
  Harness h;
  h.channel.send({.status = 429, .headers = {{"Retry-After", "1"}}, .body = "{}"});
  EXPECT_EQ(h.take(),
            "HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"
            "Retry-After: 1\r\n\r\n{}");
  EXPECT_EQ(h.state, State::complete);
  EXPECT_EQ(h.n_wakes, 1);
}

TEST(ResponseChannel, FramesForOldAndClosingClients) {
  Harness head({.http_1_0 = true, .keep_alive = true, .head_only = true});
  head.channel.send({.body = "1234"});
  EXPECT_EQ(head.take(),
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 4\r\nConnection: keep-alive\r\n\r\n");
  Harness old({.http_1_0 = true, .keep_alive = true});
  old.channel.begin_stream({.content_type = "text/plain"});
  old.channel.write("abc");
  old.channel.end();
  EXPECT_EQ(old.take(), "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\nabc");
  EXPECT_FALSE(old.channel.keep_alive());
}

TEST(ResponseChannel, StreamsInChunksAndWakesOncePerTake) {
  Harness h;
  h.channel.begin_stream({.content_type = "text/plain"}, "beat");
  h.channel.write("0123456789abcdef");
  h.channel.write("");  // would end the chunks
  EXPECT_EQ(h.n_wakes, 1);
  EXPECT_EQ(h.take(),
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
            "10\r\n0123456789abcdef\r\n");
  EXPECT_EQ(h.state, State::open);
  h.channel.heartbeat();
  EXPECT_EQ(h.n_wakes, 2);
  h.channel.end();
  h.channel.write("late");
  EXPECT_EQ(h.take(), "4\r\nbeat\r\n0\r\n\r\n");
  EXPECT_EQ(h.state, State::complete);
}

TEST(ResponseChannel, GivesUpAReaderWhoLagsTooFar) {
  Harness h({}, 100);
  h.channel.begin_stream({});
  h.take();
  for (int i = 0; i < 3; ++i) h.channel.write(std::string(40, 'x'));
  EXPECT_TRUE(h.channel.overflowed());
  EXPECT_EQ(h.n_wakes, 3);  // once more, although nothing was taken
  EXPECT_LE(h.take().size(), 100u);
}

TEST(ResponseChannel, TellsTheWorkerOnceThatNobodyWaits) {
  Harness h;
  int n = 0;
  h.channel.on_abandon([&] { ++n; });
  h.channel.abandon();
  h.channel.abandon();
  EXPECT_EQ(n, 1);
  h.channel.on_abandon([&] { ++n; });  // too late: at once
  EXPECT_EQ(n, 2);

  Harness done;
  done.channel.on_abandon([&] { ++n; });
  done.channel.send({});
  done.channel.abandon();
  EXPECT_EQ(n, 2);
}

TEST(ResponseChannel, IsSilentAfterDetach) {
  Harness h;
  h.channel.begin_stream({});
  h.channel.detach();
  h.channel.write("x");
  h.channel.end();
  EXPECT_EQ(h.take(), "");
  EXPECT_EQ(h.n_wakes, 1);
}

TEST(ResponseChannelDeathTest, AnsweringTwiceIsABug) {
  Harness h;
  h.channel.send({});
  EXPECT_DEATH(h.channel.send({}), "answered twice");
}

TEST(HttpRequest, HeaderNamesIgnoreCase) {
  const HttpRequest request{.headers = {{"AUTHORIZATION", "a"}, {"X", "b"}}};
  EXPECT_EQ(request.header("Authorization"), "a");
  EXPECT_EQ(request.header("Authorizatio"), "");
}

}  // namespace
}  // namespace arc::serve
