// Times Tokenizer::encode and decode: for every line of standard input one round, and a line of numbers. compare.py
// drives it beside the `tokenizers` package.
#include <algorithm>
#include <ctime>
#include <iostream>
#include <string>
#include <vector>

#include "fmt/format.h"

#include "base/error.h"
#include "base/mapped_file.h"
#include "text/tokenizer.h"

namespace {

// Of this thread, which other programs on the machine do not disturb.
double cpu_seconds() {
  std::timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

std::vector<std::string> split_lines(const std::string& text) {
  std::vector<std::string> lines;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size() - 1) + 1;
    lines.push_back(text.substr(begin, end - begin));
    begin = end;
  }
  return lines;
}

void run(const char* folder, const char* file, bool by_line) {
  const double start = cpu_seconds();
  const arc::Tokenizer tokenizer = arc::load_tokenizer(folder);
  fmt::print("{:.6f}\n", cpu_seconds() - start);
  std::fflush(stdout);
  const std::string text = arc::read_text_file(file);
  const std::vector<std::string> texts = by_line ? split_lines(text) : std::vector{text};
  for (std::string request; std::getline(std::cin, request);) {
    const double begin = cpu_seconds();
    std::vector<std::vector<int32_t>> ids;
    for (const std::string& one : texts) ids.push_back(tokenizer.encode(one, {.add_special_tokens = false}));
    const double encoded = cpu_seconds();
    size_t n_tokens = 0, n_bytes = 0;
    uint64_t sum = 0;  // of ids and places, to compare with
    for (const auto& list : ids) {
      n_bytes += tokenizer.decode(list).size();
      for (const int32_t id : list) sum += static_cast<uint64_t>(id) * ++n_tokens;
    }
    fmt::print("{:.6f} {:.6f} {} {} {}\n", encoded - begin, cpu_seconds() - encoded, n_tokens, n_bytes, sum);
    std::fflush(stdout);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    fmt::print(stderr, "usage: tokenize_bench MODEL_FOLDER TEXT_FILE [lines]\n");
    return 2;
  }
  try {
    run(argv[1], argv[2], argc > 3);
  } catch (const arc::Error& e) {
    fmt::print(stderr, "{}\n", e.what());
    return 1;
  }
}
