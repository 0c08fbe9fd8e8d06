// Load on an HTTP server in OpenAI's form: kept-alive connections that ask for completions one after another.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace arc::bench {

struct Target {
  std::string host = "127.0.0.1";
  uint16_t port = 0;
};

struct Load {
  int n_connections = 1;
  int max_tokens = 1;
  bool stream = false;
  double seconds = 2.0;
  std::string prompt = "Once upon a time";
};

struct LoadResult {
  double seconds = 0.0;
  int64_t n_requests = 0;             // answered whole
  int64_t n_tokens = 0;               // by the servers' own usage
  int64_t n_failed = 0;               // other status than 200, or a connection that broke in the middle
  int64_t n_reconnects = 0;           // the server closed between requests
  std::vector<double> latencies_ms;   // sorted; from the request to the answer's last byte
  std::vector<double> first_byte_ms;  // sorted; to the answer's first byte after the head
  double requests_per_second() const { return n_requests / seconds; }
  double tokens_per_second() const { return n_tokens / seconds; }
};

// The value below which `share` of the sorted `values` lie; 0 when there are none.
double quantile(const std::vector<double>& values, double share);

// One thread does all connections. Throws std::runtime_error when the server cannot be reached.
LoadResult run_load(const Target& target, const Load& load);

}  // namespace arc::bench
