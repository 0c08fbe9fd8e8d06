#include "eval/journal.h"

#include <filesystem>
#include <utility>

#include "fmt/format.h"

#include "base/error.h"
#include "base/mapped_file.h"

namespace arc {
namespace {

constexpr size_t kMaxBytes = size_t{1} << 30;

}  // namespace

Journal::Journal(const EvalRun& run, const Json& key, size_t n_parts, const std::string& what)
    : results_(n_parts), progress_(run.progress), what_(what) {
  show();
  if (run.state.empty()) return;
  const std::string first_line =
      Json{{"evaluation", what}, {"settings", run.settings}, {"key", key}, {"parts", n_parts}}.dump() + "\n";
  if (std::filesystem::exists(run.state)) read(run.state, first_line);
  file_.open(run.state, std::ios::trunc);
  file_ << first_line;
  for (size_t i = 0; i < n_parts; ++i) {
    if (results_[i]) file_ << Json{{"part", i}, {"result", *results_[i]}}.dump() << '\n';
  }
  if (!file_.flush()) throw Error(ErrorCode::io, fmt::format("cannot write the state file {}", run.state));
  show();
}

void Journal::read(const std::string& path, const std::string& first_line) {
  std::string text = read_text_file(path, kMaxBytes);
  text.resize(text.rfind('\n') + 1);  // npos + 1 is 0
  if (text.empty()) return;
  if (!text.starts_with(first_line)) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("the state file {} belongs to another evaluation; name another file, or remove it", path));
  }
  for (size_t at = first_line.size(); at < text.size();) {
    const size_t end = text.find('\n', at);
    const Json line = parse_json(std::string_view(text).substr(at, end - at), path);
    at = end + 1;
    const auto part = line.find("part"), result = line.find("result");
    const bool fits = part != line.end() && result != line.end() && part->is_number_unsigned() &&
                      part->get<size_t>() < results_.size();
    if (!fits) throw Error(ErrorCode::corrupt_data, fmt::format("{} is not a state file; remove it", path));
    n_done_ += results_[part->get<size_t>()] ? 0 : 1;
    results_[part->get<size_t>()] = *result;
  }
}

std::vector<size_t> Journal::missing() const {
  std::vector<size_t> parts;
  for (size_t i = 0; i < results_.size(); ++i) {
    if (!results_[i]) parts.push_back(i);
  }
  return parts;
}

void Journal::add(size_t part, Json result) {
  if (file_.is_open()) file_ << Json{{"part", part}, {"result", result}}.dump() << '\n' << std::flush;
  results_[part] = std::move(result);
  ++n_done_;
  show();
}

void Journal::show() const {
  if (!progress_) return;
  const double n = static_cast<double>(results_.size());
  progress_(fmt::format("{} {} of {}", what_, n_done_, results_.size()), static_cast<double>(n_done_) / n);
}

std::string fingerprint(const std::string& text) {
  uint64_t hash = 14695981039346656037u;  // FNV-1a
  for (const unsigned char byte : text) hash = (hash ^ byte) * 1099511628211u;
  return fmt::format("{:016x}", hash);
}

}  // namespace arc
