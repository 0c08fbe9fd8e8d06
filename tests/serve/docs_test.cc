// The examples of docs/http-api.md: each is sent to a server, and the answer must be the one shown.
//
// An example is a block ```http: a line "METHOD PATH", the body, an empty line, the status, the answer's body. JSON is
// compared as values, so that the page may lay it out.
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

#include "base/mapped_file.h"
#include "tests/serve/raw_client.h"
#include "tests/serve/test_server.h"

namespace arc::testing {
namespace {

struct Example {
  std::string method, path, body, status, answer;
};

std::string take_until(std::string& text, std::string_view end) {
  const size_t at = std::min(text.find(end), text.size());
  std::string taken = text.substr(0, at);
  text.erase(0, at + end.size());
  return taken;
}

std::vector<Example> examples_of(std::string page) {
  std::vector<Example> examples;
  while (take_until(page, "```http\n"), !page.empty()) {
    std::string block = take_until(page, "```");
    Example example{.method = take_until(block, " "), .path = take_until(block, "\n")};
    if (!block.starts_with('\n')) example.body = take_until(block, "\n\n");
    if (block.starts_with('\n')) block.erase(0, 1);
    example.status = take_until(block, "\n");
    example.answer = std::move(block);
    examples.push_back(std::move(example));
  }
  return examples;
}

// The bodies of a chunked answer's chunks.
std::string dechunked(std::string text) {
  std::string out;
  while (!text.empty()) {
    const size_t size = std::stoul(take_until(text, "\r\n"), nullptr, 16);
    out += text.substr(0, size);
    text.erase(0, size + 2);
  }
  return out;
}

TEST(Docs, ExamplesAreTrue) {
  const std::vector<Example> examples = examples_of(read_text_file(ARC_SOURCE_DIR "/docs/http-api.md"));
  EXPECT_GE(examples.size(), 8u);
  for (const Example& example : examples) {
    TestServerOptions options{.engine = {.max_seq_len = 16}};
    options.api.make_id = [] { return std::string("1"); };
    options.api.now = [] { return 1700000001; };
    TestServer server(options);
    RawClient client(server.port());
    const bool stream = example.body.find("\"stream\": true") != std::string::npos;
    server.engine.hold(stream);
    client.send(example.method == "GET" ? get(example.path) : post(example.path, example.body));
    const std::string head = client.read_until("\r\n\r\n");
    server.engine.hold(false);
    EXPECT_EQ(head.substr(9, 3), example.status.substr(0, 3)) << example.path << example.body;
    const std::string answer = client.read_body(head);
    if (stream) {
      EXPECT_EQ(dechunked(answer), example.answer) << example.body;
    } else {
      EXPECT_EQ(nlohmann::json::parse(answer), nlohmann::json::parse(example.answer)) << answer;
    }
  }
}

}  // namespace
}  // namespace arc::testing
