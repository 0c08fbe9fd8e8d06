// The GGUF format, versions 2 and 3, little-endian.
//
//   "GGUF" | u32 version | u64 tensors | u64 pairs | pairs | tensor descriptions | padding | data
//   pair: key, u32 type, value; a string is u64 length and bytes, an array u32 type, u64 count and values
//   tensor: name, u32 rank, u64 sizes (fastest first), u32 ggml type, u64 offset from the start of the data
//
// The data and each tensor in it are aligned to the pair general.alignment, else 32. A model may be split into files
// "name-00001-of-00003.gguf"; the first has the metadata. Source: ggml's docs/gguf.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "io/checkpoint.h"

namespace arc {

// The numbers are the file's.
enum class GgufType : uint32_t { u8, i8, u16, i16, u32, i32, f32, boolean, string, array, u64, i64, f64 };

// One value of the metadata: a number, a truth value, a string, or an array of one kind of these. A view of the file.
class GgufValue {
 public:
  // `bytes` hold exactly `count` elements of `type`, which is not `array`.
  GgufValue(GgufType type, bool is_array, uint64_t count, std::span<const std::byte> bytes)
      : type_(type), is_array_(is_array), count_(count), bytes_(bytes) {}

  bool is_array() const { return is_array_; }
  uint64_t count() const { return count_; }  // of an array's elements; else 1

  // Empty where the value is of another kind, or an integer too large. A scalar is not an array of one.
  std::optional<std::string_view> string() const;
  std::optional<int64_t> integer() const;
  std::vector<std::string_view> strings() const;
  std::vector<int64_t> integers() const;
  std::vector<double> numbers() const;

  // Bytes that are not UTF-8 become U+FFFD.
  Json json() const;

 private:
  bool is_integer() const;

  GgufType type_ = GgufType::u8;
  bool is_array_ = false;
  uint64_t count_ = 0;
  std::span<const std::byte> bytes_;
};

using GgufMetadata = std::map<std::string, GgufValue, std::less<>>;

// A model in one file or several.
struct GgufModel {
  std::shared_ptr<const MappedFile> first;  // which the metadata points into
  GgufMetadata metadata;
  Checkpoint checkpoint;
};

// `path` is the file, or any one of a split model's. Throws Error(not_found, io, corrupt_data, unsupported) that names
// the file, the tensor and the remedy.
GgufModel open_gguf(const std::filesystem::path& path);

// ---- the parser, over bytes from anywhere --------------------------------------------------------------------------

struct GgufHeader {
  GgufMetadata metadata;
  std::vector<TensorEntry> tensors;  // by ascending name; offsets count from the start of the file
};

// Reads the header of a whole file and checks every number in it against the file's size. `file_name` is for messages.
GgufHeader parse_gguf_header(std::span<const std::byte> file, std::string_view file_name);

}  // namespace arc
