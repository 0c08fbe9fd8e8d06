#include "io/gguf.h"

#include <cstring>
#include <set>
#include <system_error>
#include <utility>

#include "fmt/format.h"
#include "nlohmann/json.hpp"

#include "base/check.h"
#include "base/error.h"
#include "base/utf8.h"
#include "io/printable.h"

namespace arc {
namespace {

namespace fs = std::filesystem;

template <typename T>
T load(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof(T));
  return value;
}

// Calls `take` with every number, as the C++ type that the file's type is.
template <typename Take>
void each_number(GgufType type, uint64_t count, const std::byte* at, const Take& take) {
  const auto run = [&]<typename T>(T) {
    for (uint64_t i = 0; i < count; ++i) take(load<T>(at + i * sizeof(T)));
  };
  switch (type) {
    case GgufType::u8:
      return run(uint8_t{});
    case GgufType::i8:
      return run(int8_t{});
    case GgufType::u16:
      return run(uint16_t{});
    case GgufType::i16:
      return run(int16_t{});
    case GgufType::u32:
      return run(uint32_t{});
    case GgufType::i32:
      return run(int32_t{});
    case GgufType::f32:
      return run(float{});
    case GgufType::u64:
      return run(uint64_t{});
    case GgufType::i64:
      return run(int64_t{});
    case GgufType::f64:
      return run(double{});
    case GgufType::boolean:
      for (uint64_t i = 0; i < count; ++i) take(at[i] != std::byte{0});
      return;
    case GgufType::string:
    case GgufType::array:
      return;
  }
}

std::vector<std::string_view> all_strings(uint64_t count, std::span<const std::byte> bytes) {
  std::vector<std::string_view> strings;
  for (uint64_t i = 0; i < count; ++i) {
    const auto length = load<uint64_t>(bytes.data());
    strings.emplace_back(reinterpret_cast<const char*>(bytes.data()) + sizeof(length), length);
    bytes = bytes.subspan(sizeof(length) + length);
  }
  return strings;
}

// ---- split models --------------------------------------------------------------------------------------------------

// "-00002-of-00005.gguf" at the end of a name.
struct SplitName {
  std::string stem;
  int number = 0, count = 0;

  std::string of(int i) const { return fmt::format("{}-{:05}-of-{:05}.gguf", stem, i, count); }
};

std::optional<SplitName> split_name(const std::string& name) {
  constexpr std::string_view kForm = "-00001-of-00001.gguf";
  if (name.size() < kForm.size()) return std::nullopt;
  const size_t begin = name.size() - kForm.size();
  for (size_t i = 0; i < kForm.size(); ++i) {
    const char c = name[begin + i];
    const bool digit = kForm[i] == '0' || kForm[i] == '1';
    if (digit ? c < '0' || c > '9' : c != kForm[i]) return std::nullopt;
  }
  return SplitName{.stem = name.substr(0, begin),
                   .number = std::stoi(name.substr(begin + 1, 5)),
                   .count = std::stoi(name.substr(begin + 10, 5))};
}

int64_t integer_or(const GgufMetadata& metadata, std::string_view key, int64_t fallback) {
  const auto found = metadata.find(key);
  return found == metadata.end() ? fallback : found->second.integer().value_or(fallback);
}

struct OpenFile {
  CheckpointFile file;
  GgufMetadata metadata;
};

OpenFile open_file(const fs::path& path) {
  OpenFile open{.file = {.path = path, .data = std::make_shared<const MappedFile>(path)}};
  GgufHeader header = parse_gguf_header(open.file.data->bytes(), path.string());
  open.file.tensors = std::move(header.tensors);
  open.metadata = std::move(header.metadata);
  return open;
}

[[noreturn]] void fail_split(const fs::path& path, const std::string& problem) {
  throw Error(
      ErrorCode::corrupt_data,
      fmt::format("{}: {}; a split model's files lie in one folder and keep their names", path.string(), problem));
}

}  // namespace

bool GgufValue::is_integer() const {
  return type_ != GgufType::f32 && type_ != GgufType::f64 && type_ != GgufType::boolean && type_ != GgufType::string;
}

std::optional<std::string_view> GgufValue::string() const {
  if (is_array_ || type_ != GgufType::string) return std::nullopt;
  return all_strings(1, bytes_).front();
}

std::optional<int64_t> GgufValue::integer() const {
  if (is_array_ || !is_integer()) return std::nullopt;
  int64_t result = 0;
  each_number(type_, 1, bytes_.data(), [&](auto value) { result = static_cast<int64_t>(value); });
  const bool overflow = type_ == GgufType::u64 && result < 0;
  return overflow ? std::nullopt : std::optional(result);
}

std::vector<std::string_view> GgufValue::strings() const {
  if (!is_array_ || type_ != GgufType::string) return {};
  return all_strings(count_, bytes_);
}

std::vector<int64_t> GgufValue::integers() const {
  std::vector<int64_t> result;
  if (!is_array_ || !is_integer()) return result;
  each_number(type_, count_, bytes_.data(), [&](auto value) { result.push_back(static_cast<int64_t>(value)); });
  return result;
}

std::vector<double> GgufValue::numbers() const {
  std::vector<double> result;
  if (!is_array_ || type_ == GgufType::boolean) return result;
  each_number(type_, count_, bytes_.data(), [&](auto value) { result.push_back(static_cast<double>(value)); });
  return result;
}

Json GgufValue::json() const {
  Json array = Json::array();
  if (type_ == GgufType::string) {
    for (std::string_view text : all_strings(count_, bytes_)) array.push_back(utf8_replace_invalid(text));
  } else {
    each_number(type_, count_, bytes_.data(), [&](auto value) { array.push_back(value); });
  }
  return is_array_ ? array : std::move(array[0]);
}

GgufModel open_gguf(const fs::path& path) {
  const std::optional<SplitName> split = split_name(path.filename().string());
  std::vector<CheckpointFile> files;
  GgufModel model;
  const int n_files = split ? split->count : 1;
  for (int i = 1; i <= n_files; ++i) {
    const fs::path name = split ? path.parent_path() / split->of(i) : path;
    OpenFile open = open_file(name);
    const int64_t number = integer_or(open.metadata, "split.no", i - 1);
    const int64_t count = integer_or(open.metadata, "split.count", n_files);
    if (number != i - 1 || count != n_files) {
      fail_split(name, fmt::format("it says that it is file {} of {}", number + 1, count));
    }
    if (i == 1) {
      model.first = open.file.data;
      model.metadata = std::move(open.metadata);
    }
    files.push_back(std::move(open.file));
  }
  if (files.empty()) fail_split(path, "its name says that it is one of no files");
  model.checkpoint = Checkpoint(std::move(files));
  const auto n_tensors = static_cast<int64_t>(model.checkpoint.tensors().size());
  const int64_t expected = integer_or(model.metadata, "split.tensors.count", n_tensors);
  if (n_tensors != expected) fail_split(path, fmt::format("{} tensors of {}", n_tensors, expected));
  return model;
}

}  // namespace arc
