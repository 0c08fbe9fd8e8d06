// Transcripts: what a client sends and what it gets, byte for byte. With ARC_UPDATE_TRANSCRIPTS=1 the answers are
// written anew, to be read before they are believed.
//
// A file holds exchanges on one connection: a line ">>>", the request, a line "<<<", the response. A carriage return is
// written \r; a backslash alone at the end of a block means that its last line has no line feed.
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"

#include "base/mapped_file.h"
#include "tests/serve/raw_client.h"
#include "tests/serve/test_server.h"

namespace arc::testing {
namespace {

struct Exchange {
  std::string request, response;  // as in the file
};

std::string replace_all(std::string text, std::string_view from, std::string_view to) {
  for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
    text.replace(at, from.size(), to);
  return text;
}

std::string encode(const std::string& bytes) {
  return replace_all(bytes, "\r", "\\r") + (bytes.ends_with('\n') ? "" : "\\\n");
}

std::string decode(std::string text) {
  if (text.ends_with("\\\n")) text.resize(text.size() - 2);
  return replace_all(std::move(text), "\\r\n", "\r\n");
}

std::vector<Exchange> parse(const std::string& text) {
  std::vector<Exchange> exchanges;
  for (size_t at = text.find(">>>\n"); at != std::string::npos;) {
    const size_t answer = text.find("<<<\n", at);
    const size_t next = text.find(">>>\n", answer);
    const size_t end = std::min(next, text.size());
    exchanges.push_back({text.substr(at + 4, answer - at - 4), text.substr(answer + 4, end - answer - 4)});
    at = next;
  }
  return exchanges;
}

std::vector<std::filesystem::path> transcript_files() {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(ARC_SOURCE_DIR "/tests/serve/transcripts")) {
    paths.push_back(entry.path());
  }
  std::ranges::sort(paths);
  return paths;
}

// The engine waits until the head of a stream is here, so that every event is a chunk of its own.
std::string exchange(TestServer& server, RawClient& client, const std::string& request) {
  const bool stream = request.find("\"stream\":true") != std::string::npos;
  server.engine.hold(stream);
  client.send(request);
  if (!stream) return client.read_response();
  const std::string head = client.read_until("\r\n\r\n");
  server.engine.hold(false);
  return head + client.read_until("\r\n0\r\n\r\n");
}

class Transcript : public ::testing::TestWithParam<std::filesystem::path> {};

TEST_P(Transcript, IsRepeatedByteForByte) {
  TestServerOptions options{.engine = {.max_seq_len = 16}};
  options.api.make_id = [n = std::make_shared<int>(0)] { return std::to_string(++*n); };
  options.api.now = options.http.now = [] { return 1700000001; };
  TestServer server(options);
  RawClient client(server.port());
  const bool update = std::getenv("ARC_UPDATE_TRANSCRIPTS") != nullptr;

  std::string anew;
  for (const Exchange& e : parse(read_text_file(GetParam()))) {
    const std::string response = encode(exchange(server, client, decode(e.request)));
    EXPECT_TRUE(update || response == e.response) << e.request << response;
    anew += ">>>\n" + e.request + "<<<\n" + response;
  }
  EXPECT_FALSE(anew.empty());
  if (update) std::ofstream(GetParam()) << anew;
}

INSTANTIATE_TEST_SUITE_P(Server, Transcript, ::testing::ValuesIn(transcript_files()),
                         [](const auto& info) { return info.param.stem().string(); });

}  // namespace
}  // namespace arc::testing
