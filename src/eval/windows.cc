#include "eval/windows.h"

#include <algorithm>
#include <cmath>

#include "fmt/format.h"

#include "base/error.h"
#include "base/mapped_file.h"
#include "eval/journal.h"

namespace arc {
namespace {

constexpr int32_t kDefaultWindow = 2048;

TextOptions settled(const TextOptions& options, int32_t longest) {
  TextOptions o = options;
  if (o.window == 0) o.window = std::min(kDefaultWindow, longest);
  if (o.stride == 0) o.stride = std::max(o.window / 2, 1);
  if (o.window < 2 || o.window > longest) {
    throw Error(
        ErrorCode::invalid_argument,
        fmt::format("a window of {} tokens does not fit this model, which reads from 2 to {}", o.window, longest));
  }
  if (o.stride < 1 || o.stride >= o.window) {
    throw Error(
        ErrorCode::invalid_argument,
        fmt::format("a stride of {} tokens is not between 1 and the window's {}, exclusive", o.stride, o.window));
  }
  return o;
}

void cut(const std::vector<int32_t>& tokens, const TextOptions& o, std::vector<Window>& out) {
  const size_t size = tokens.size(), window = static_cast<size_t>(o.window);
  for (size_t begin = 0, counted = 1; counted < size; begin += static_cast<size_t>(o.stride)) {
    const size_t end = std::min(begin + window, size);
    out.push_back(
        {.tokens = {tokens.begin() + static_cast<ptrdiff_t>(begin), tokens.begin() + static_cast<ptrdiff_t>(end)},
         .first = static_cast<int32_t>(counted - begin)});
    counted = end;
  }
}

}  // namespace

std::vector<std::string> read_documents(const std::string& path) {
  std::string text = read_text_file(path);
  if (!path.ends_with(".jsonl")) return {std::move(text)};
  std::vector<std::string> documents;
  for (size_t at = 0, line = 1; at < text.size(); ++line) {
    const size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view one = std::string_view(text).substr(at, end - at);
    at = end + 1;
    if (one.empty()) continue;
    const Json json = parse_json(one, fmt::format("line {} of {}", line, path));
    const auto found = json.is_object() ? json.find("text") : json.end();
    if (!json.is_object() || found == json.end() || !found->is_string()) {
      throw Error(ErrorCode::corrupt_data, fmt::format("line {} of {} has no \"text\"", line, path));
    }
    documents.push_back(found->get<std::string>());
  }
  return documents;
}

Windows cut_windows(const Engine& engine, const std::vector<std::string>& documents, const TextOptions& options) {
  const TextOptions o = settled(options, engine.info().max_seq_len);
  Windows windows;
  std::string all;
  for (const std::string& document : documents) {
    cut(engine.tokenize(TextPrompt{.text = document}), o, windows.list);
    windows.bytes += static_cast<int64_t>(document.size());
    all += document + '\n';
  }
  if (windows.list.empty()) throw Error(ErrorCode::invalid_argument, "there is no text of at least two tokens");
  windows.key = {{"window", o.window}, {"stride", o.stride}, {"text", fingerprint(all)}};
  return windows;
}

MeanError mean_of(const std::vector<WindowSum>& windows) {
  double sum = 0, n = 0, squares = 0;
  for (const WindowSum& w : windows) {
    sum += w.sum;
    n += w.n;
  }
  const double mean = sum / n, count = static_cast<double>(windows.size());
  for (const WindowSum& w : windows) squares += (w.sum - mean * w.n) * (w.sum - mean * w.n);
  return {.mean = mean, .error = count > 1 ? std::sqrt(squares * count / (count - 1)) / n : 0.0};
}

}  // namespace arc
