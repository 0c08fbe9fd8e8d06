// Many clients at once on a server over a real engine: some read to the end, some slowly, some vanish. In the end every
// request is accounted for. ARC_SOAK_SECONDS sets the time; with ARC_FULL=1 it is ten minutes.
#include <array>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <random>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "fmt/format.h"
#include "fmt/ranges.h"
#include "gtest/gtest.h"

#include "engine/tiny_folder.h"
#include "serve/http_server.h"
#include "serve/openai_routes.h"
#include "serve/router.h"
#include "tests/serve/raw_client.h"

namespace arc::testing {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr int kClients = 64;
constexpr int kVocab = 129;
constexpr std::string_view kStreamEnd = "data: [DONE]\n\n\r\n0\r\n\r\n";

std::chrono::seconds soak_time() {
  if (const char* seconds = std::getenv("ARC_SOAK_SECONDS")) return std::chrono::seconds(std::atoi(seconds));
  return std::getenv("ARC_FULL") != nullptr ? 600s : 3s;
}

std::map<std::string, double> metrics_of(uint16_t port) {
  RawClient client(port);
  client.send(get("/metrics"));
  std::istringstream lines(client.read_response());
  std::map<std::string, double> metrics;
  for (std::string line; std::getline(lines, line);) {
    const size_t space = line.find(' ');
    if (line.starts_with("arc_") && space != std::string::npos) {
      metrics[line.substr(0, space)] = std::atof(line.c_str() + space);
    }
  }
  return metrics;
}

size_t open_files() {
  const auto files = std::filesystem::directory_iterator("/proc/self/fd");
  return static_cast<size_t>(std::distance(begin(files), end(files)));
}

// What the clients saw. Requests are counted as the engine does: one per prompt.
struct Ledger {
  std::atomic<int64_t> accepted = 0;   // a 200 was seen
  std::atomic<int64_t> whole = 0;      // of these, read to the end
  std::atomic<int64_t> refused = 0;    // a 429 was seen
  std::atomic<int64_t> uncertain = 0;  // left before the status was seen
  std::atomic<int64_t> wrong = 0;      // anything that should not happen
};

class SoakClient {
 public:
  SoakClient(uint16_t port, uint64_t seed, Ledger& ledger) : port_(port), random_(seed), ledger_(ledger) {}

  void run_until(Clock::time_point end) {
    while (Clock::now() < end) {
      if (!client_) {
        client_ = std::make_unique<RawClient>(port_);
        slow_ = below(8) == 0;
        if (slow_) client_->use_small_buffer();
      }
      one_request();
    }
  }

 private:
  uint64_t below(uint64_t n) { return random_() % n; }

  std::string body(bool stream, int n_prompts) {
    std::vector<std::string> prompts;
    for (int i = 0; i < n_prompts; ++i) {
      std::vector<uint64_t> tokens(1 + below(40));
      for (uint64_t& token : tokens) token = below(kVocab);
      prompts.push_back(fmt::format("[{}]", fmt::join(tokens, ",")));
    }
    // Only a slow reader is sent more than the server keeps for one: others may be late for want of a processor.
    const bool scored = below(4) == 0 && (slow_ || n_prompts == 1);
    const char* extra = scored ? R"(,"logprobs":2)" : below(4) == 0 ? R"(,"stop":["<t7>"])" : "";
    return fmt::format(R"({{"prompt":[{}],"stream":{},"max_tokens":{},"ignore_eos":true,"n":{},"seed":{}{}}})",
                       fmt::join(prompts, ","), stream, 1 + below(slow_ ? 80 : 20), slow_ ? 2 : 1 + below(2),
                       below(1000), extra);
  }

  void one_request() {
    const bool stream = below(4) != 0;
    const int n_prompts = 1 + static_cast<int>(below(8) == 0);
    if (below(16) == 0) return bad_request();
    client_->send(post("/v1/completions", body(stream, n_prompts)));
    const uint64_t fate = below(8);
    if (fate == 0) {  // gone before anything was read
      ledger_.uncertain += n_prompts;
      return leave();
    }
    const std::string head = client_->read_until("\r\n\r\n");
    if (head.starts_with("HTTP/1.1 429")) {
      ledger_.refused += 1;
      ledger_.uncertain += n_prompts - 1;  // those before it in the list were accepted, then cancelled
      return leave();
    }
    if (!head.starts_with("HTTP/1.1 200")) {
      ++ledger_.wrong;
      ADD_FAILURE() << head;
      return leave();
    }
    ledger_.accepted += n_prompts;
    if (stream && (fate == 1 || fate == 2)) {  // gone in the middle
      if (fate == 1) client_->read_until("\n\n");
      return leave();
    }
    if (slow_) std::this_thread::sleep_for(std::chrono::milliseconds(below(300)));
    read_answer(head, stream, n_prompts);
  }

  void read_answer(const std::string& head, bool stream, int n_prompts) {
    if (!stream) {
      client_->read_body(head);
    } else if (const std::string events = client_->read_until(kStreamEnd); !events.ends_with(kStreamEnd)) {
      // The server may give up a reader that is too slow, nobody else.
      if (!slow_) ++ledger_.wrong;
      return leave();
    }
    ledger_.whole += n_prompts;
  }

  void bad_request() {
    client_->send(post("/v1/completions", R"({"prompt":[999999]})"));
    const std::string answer = client_->read_response();
    if (!answer.starts_with("HTTP/1.1 400")) ++ledger_.wrong;
  }

  void leave() {
    if (below(2) == 0) client_->reset();
    client_ = nullptr;
  }

  const uint16_t port_;
  std::mt19937_64 random_;
  Ledger& ledger_;
  std::unique_ptr<RawClient> client_;
  bool slow_ = false;
};

TEST(Soak, EveryRequestIsAccountedFor) {
  const std::filesystem::path folder = ::testing::TempDir() + fmt::format("arc_soak_{}", ::getpid());
  std::filesystem::create_directories(folder);
  test::write_model_folder(test::read_golden("qwen3"), kVocab, folder);
  const auto engine =
      load_engine({.model = folder, .max_seqs = 16, .max_queue = 40, .max_seq_len = 128, .kv_memory_bytes = 16 << 20});
  const serve::Router router(serve::openai_routes(*engine));
  serve::HttpServer server(
      {.port = 0, .max_unsent_bytes = 32 << 10, .write_timeout = 500ms, .heartbeat_interval = 50ms}, router);
  std::thread server_thread([&server] { server.run(); });
  const size_t n_files = open_files();

  Ledger ledger;
  {
    const Clock::time_point end = Clock::now() + soak_time();
    std::vector<std::jthread> threads;
    for (int i = 0; i < kClients; ++i) {
      threads.emplace_back([&, i] { SoakClient(server.port(), static_cast<uint64_t>(i), ledger).run_until(end); });
    }
  }
  std::map<std::string, double> m;
  for (int i = 0; i < 1000; ++i) {
    m = metrics_of(server.port());
    if (m["arc_requests_running"] == 0 && m["arc_requests_waiting"] == 0 && open_files() <= n_files + 1) break;
    std::this_thread::sleep_for(10ms);
  }
  const double total = m["arc_requests_total"], finished = m["arc_requests_finished_total"],
               cancelled = m["arc_requests_cancelled_total"];
  fmt::print("{} accepted ({} finished, {} cancelled), {} refused; clients saw {} whole answers, {} wrong ones\n",
             total, finished, cancelled, m["arc_requests_refused_total"], ledger.whole.load(), ledger.wrong.load());
  EXPECT_EQ(total, finished + cancelled);
  EXPECT_EQ(m["arc_requests_failed_total"], 0);
  EXPECT_EQ(m["arc_requests_running"], 0);
  EXPECT_EQ(m["arc_requests_waiting"], 0);
  EXPECT_EQ(m["arc_cache_usage_ratio"], 0);
  EXPECT_LE(ledger.whole, finished);
  EXPECT_LE(ledger.accepted, total);
  EXPECT_GE(ledger.accepted + ledger.uncertain, total);
  EXPECT_LE(ledger.refused, m["arc_requests_refused_total"]);
  EXPECT_EQ(ledger.wrong, 0);
  EXPECT_GT(ledger.whole, 0);
  EXPECT_GT(cancelled, 0);
  EXPECT_LE(open_files(), n_files + 1);

  server.stop();
  server_thread.join();
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace arc::testing
