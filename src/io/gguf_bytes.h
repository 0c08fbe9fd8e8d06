// Writes GGUF files for tests: metadata and tensors as given, right or wrong.
#pragma once

#include <cstdint>
#include <cstring>
#include <fstream>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "io/gguf.h"

namespace arc::test {

class GgufBytes {
 public:
  uint32_t version = 3;
  uint64_t alignment = 32;  // of the data; written only when add() is asked to

  template <typename T>
  static constexpr GgufType type_of() {
    if constexpr (std::is_same_v<T, bool>) return GgufType::boolean;
    if constexpr (std::is_same_v<T, uint8_t>) return GgufType::u8;
    if constexpr (std::is_same_v<T, int8_t>) return GgufType::i8;
    if constexpr (std::is_same_v<T, uint16_t>) return GgufType::u16;
    if constexpr (std::is_same_v<T, int16_t>) return GgufType::i16;
    if constexpr (std::is_same_v<T, uint32_t>) return GgufType::u32;
    if constexpr (std::is_same_v<T, int32_t>) return GgufType::i32;
    if constexpr (std::is_same_v<T, float>) return GgufType::f32;
    if constexpr (std::is_same_v<T, uint64_t>) return GgufType::u64;
    if constexpr (std::is_same_v<T, int64_t>) return GgufType::i64;
    if constexpr (std::is_same_v<T, double>) return GgufType::f64;
  }

  template <typename T>
  void add(std::string_view key, const T& value) {
    begin_pair(key);
    if constexpr (std::is_arithmetic_v<T>) {
      number(metadata_, static_cast<uint32_t>(type_of<T>()));
      number(metadata_, value);
    } else {
      number(metadata_, static_cast<uint32_t>(GgufType::string));
      text(metadata_, value);
    }
  }
  template <typename T>
  void add(std::string_view key, const std::vector<T>& values) {
    begin_pair(key);
    number(metadata_, static_cast<uint32_t>(GgufType::array));
    if constexpr (std::is_arithmetic_v<T>) {
      number(metadata_, static_cast<uint32_t>(type_of<T>()));
      number(metadata_, static_cast<uint64_t>(values.size()));
      for (const T value : values) number(metadata_, value);
    } else {
      number(metadata_, static_cast<uint32_t>(GgufType::string));
      number(metadata_, static_cast<uint64_t>(values.size()));
      for (const T& value : values) text(metadata_, value);
    }
  }

  // `shape` outermost first; `type` is ggml's number.
  void tensor(std::string_view name, std::span<const int64_t> shape, uint32_t type, std::span<const std::byte> data) {
    text(tensors_, name);
    number(tensors_, static_cast<uint32_t>(shape.size()));
    for (size_t i = shape.size(); i-- > 0;) number(tensors_, static_cast<uint64_t>(shape[i]));
    number(tensors_, type);
    number(tensors_, static_cast<uint64_t>(data_.size()));
    data_.append(reinterpret_cast<const char*>(data.data()), data.size());
    data_.resize((data_.size() + alignment - 1) / alignment * alignment);
    ++n_tensors_;
  }
  void tensor(std::string_view name, std::initializer_list<int64_t> shape, uint32_t type,
              std::span<const std::byte> data) {
    tensor(name, std::span(shape.begin(), shape.size()), type, data);
  }

  std::string bytes() const {
    std::string file = "GGUF";
    number(file, version);
    number(file, n_tensors_);
    number(file, n_pairs_);
    file += metadata_ + tensors_;
    file.resize((file.size() + alignment - 1) / alignment * alignment);
    return file + data_;
  }

  void write(const std::filesystem::path& path) const { std::ofstream(path, std::ios::binary) << bytes(); }

 private:
  template <typename T>
  static void number(std::string& to, T value) {
    to.append(reinterpret_cast<const char*>(&value), sizeof(value));
  }
  static void text(std::string& to, std::string_view value) {
    number(to, static_cast<uint64_t>(value.size()));
    to += value;
  }
  void begin_pair(std::string_view key) {
    text(metadata_, key);
    ++n_pairs_;
  }

  uint64_t n_tensors_ = 0, n_pairs_ = 0;
  std::string metadata_, tensors_, data_;
};

}  // namespace arc::test
