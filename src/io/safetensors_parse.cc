// The parsers of safetensors headers and indexes. Their input is hostile: every number is checked before it is used.
#include <algorithm>
#include <cstdint>
#include <limits>
#include <optional>
#include <utility>

#include "fmt/format.h"

#include "base/error.h"
#include "io/json_events.h"
#include "io/printable.h"
#include "io/safetensors.h"
#include "io/safetensors_dtype.h"

namespace arc {
namespace {

constexpr size_t kLengthBytes = 8;
constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the limit of the format's own implementation
constexpr size_t kMaxTensors = 1'000'000;
constexpr std::string_view kMetadataKey = "__metadata__";

// ---- header --------------------------------------------------------------------------------------------------------

// Turns the header's JSON into tensors that lie inside the data. How they lie to each other is checked afterwards.
class HeaderReader final : public JsonEvents {
 public:
  HeaderReader(std::string_view file, size_t data_begin, size_t data_bytes)
      : file_(file), data_begin_(data_begin), data_bytes_(data_bytes) {}

  SafetensorsHeader take() { return std::move(header_); }

  bool start_object(size_t) override {
    if (place_ == Place::document) return enter(Place::header);
    if (place_ != Place::header) return refuse("an object");
    if (name_ == kMetadataKey) return enter(Place::metadata);
    if (header_.tensors.size() == kMaxTensors) return fail(fmt::format("more than {} tensors", kMaxTensors));
    fields_ = {};
    return enter(Place::tensor);
  }

  bool key(std::string& key) override {
    std::swap(place_ == Place::header ? name_ : field_, key);
    return true;
  }

  bool string(std::string& value) override {
    if (place_ == Place::metadata) {
      if (!header_.metadata.emplace(field_, std::move(value)).second) return refuse("a second value");
      return true;
    }
    if (place_ != Place::tensor || field_ != "dtype" || fields_.dtype) return refuse("a string");
    fields_.dtype = dtype_from_safetensors(value);
    if (fields_.dtype) return true;
    throw Error(ErrorCode::unsupported,
                fmt::format("{}: tensor {} has elements of type {}, which Arc cannot read: use a copy of the model in "
                            "another format",
                            file_, printable(name_), printable(value)));
  }

  bool start_array(size_t) override {
    if (place_ != Place::tensor) return refuse("an array");
    if (field_ == "shape" && !std::exchange(fields_.has_shape, true)) return enter(Place::shape);
    if (field_ == "data_offsets" && !std::exchange(fields_.has_offsets, true)) return enter(Place::offsets);
    return refuse("an array");
  }

  bool number_unsigned(uint64_t value) override {
    if (place_ == Place::shape) {
      if (value > uint64_t{std::numeric_limits<int64_t>::max()}) return refuse("a number past 63 bits");
      if (fields_.rank == kMaxRank) return refuse("one size too many");
      fields_.sizes[fields_.rank++] = static_cast<int64_t>(value);
    } else if (place_ == Place::offsets) {
      if (fields_.n_offsets == 2) return refuse("a third number");
      fields_.offsets[fields_.n_offsets++] = value;
    } else {
      return refuse("a number");
    }
    return true;
  }

  bool end_array() override { return enter(Place::tensor); }

  bool end_object() override {
    if (place_ == Place::tensor) header_.tensors.push_back(checked_tensor());
    return enter(place_ == Place::header ? Place::document : Place::header);
  }

 private:
  enum class Place { document, header, metadata, tensor, shape, offsets };

  // What the object of one tensor has said so far.
  struct Fields {
    std::optional<DType> dtype;
    bool has_shape = false, has_offsets = false;
    size_t rank = 0, n_offsets = 0;
    int64_t sizes[kMaxRank] = {};
    uint64_t offsets[2] = {};
  };

  bool enter(Place place) {
    place_ = place;
    return true;
  }

  bool fail(const std::string& problem) const override { fail_damaged(file_, problem); }
  [[noreturn]] void fail_tensor(const std::string& problem) const {
    fail_damaged(file_, fmt::format("tensor {}: {}", printable(name_), problem));
  }
  bool refuse(std::string_view event) const override {
    if (place_ == Place::document) return fail(fmt::format("the header is {}, not an object", event));
    if (place_ == Place::header) fail_tensor(fmt::format("{} instead of an object", event));
    fail_tensor(fmt::format("{} that does not belong in \"{}\"", event, printable(field_)));
  }

  TensorEntry checked_tensor() {
    const Fields& f = fields_;
    if (!f.dtype || !f.has_shape || f.n_offsets != 2) fail_tensor("dtype, shape or data_offsets is missing");
    const uint64_t begin = f.offsets[0], end = f.offsets[1];
    if (begin > end || end > data_bytes_) {
      fail_tensor(fmt::format("data_offsets [{}, {}] do not lie in the {} bytes of data", begin, end, data_bytes_));
    }
    const std::span<const int64_t> sizes(f.sizes, f.rank);
    const std::optional<int64_t> numel = Shape::checked_numel(sizes);
    uint64_t size_bytes = 0;
    if (!numel || __builtin_mul_overflow(static_cast<uint64_t>(*numel), dtype_size(*f.dtype), &size_bytes)) {
      fail_tensor("more elements than memory has addresses");
    }
    if (size_bytes != end - begin) {
      fail_tensor(fmt::format("{} of shape {} takes {} bytes, but its data_offsets span {}", dtype_name(*f.dtype),
                              Shape(sizes).to_string(), size_bytes, end - begin));
    }
    return {.name = name_,
            .dtype = *f.dtype,
            .shape = Shape(sizes),
            .offset = data_begin_ + begin,
            .size_bytes = size_bytes};
  }

  const std::string_view file_;
  const size_t data_begin_;
  const size_t data_bytes_;
  SafetensorsHeader header_;
  Place place_ = Place::document;
  std::string name_;   // the key of the tensor being read
  std::string field_;  // the key inside it
  Fields fields_;
};

uint64_t little_endian_u64(std::span<const std::byte> bytes) {
  uint64_t value = 0;
  for (size_t i = 0; i < sizeof(value); ++i) value |= std::to_integer<uint64_t>(bytes[i]) << (8 * i);
  return value;
}

// Every byte from `begin` to `end` must belong to exactly one tensor.
void check_coverage(std::vector<TensorEntry>& tensors, size_t begin, size_t end, std::string_view file) {
  std::ranges::sort(tensors, {}, [](const TensorEntry& t) { return std::pair(t.offset, t.size_bytes); });
  size_t covered = begin;
  for (const TensorEntry& t : tensors) {
    if (t.offset < covered) fail_damaged(file, fmt::format("tensor {} overlaps another one", printable(t.name)));
    if (t.offset > covered) fail_damaged(file, fmt::format("bytes before tensor {} belong to none", printable(t.name)));
    covered += t.size_bytes;
  }
  if (covered != end) fail_damaged(file, fmt::format("the last {} bytes belong to no tensor", end - covered));
}

}  // namespace

SafetensorsHeader parse_safetensors_header(std::span<const std::byte> file, std::string_view file_name) {
  if (file.size() < kLengthBytes) fail_damaged(file_name, fmt::format("{} bytes are too few", file.size()));
  const uint64_t header_bytes = little_endian_u64(file);
  if (header_bytes > kMaxHeaderBytes || header_bytes > file.size() - kLengthBytes) {
    fail_damaged(file_name, fmt::format("a header of {} bytes in a file of {}", header_bytes, file.size()));
  }
  const std::string_view text(reinterpret_cast<const char*>(file.data()) + kLengthBytes, header_bytes);
  if (!text.starts_with('{')) fail_damaged(file_name, "the header does not start with {");

  const size_t data_begin = kLengthBytes + header_bytes;
  HeaderReader reader(file_name, data_begin, file.size() - data_begin);
  reader.read(text);
  SafetensorsHeader header = reader.take();
  check_coverage(header.tensors, data_begin, file.size(), file_name);
  std::ranges::sort(header.tensors, {}, &TensorEntry::name);
  const auto twice = std::ranges::adjacent_find(header.tensors, {}, &TensorEntry::name);
  if (twice != header.tensors.end()) fail_damaged(file_name, fmt::format("two tensors {}", printable(twice->name)));
  return header;
}

// ---- index ---------------------------------------------------------------------------------------------------------

namespace {

// Keeps "weight_map" and skips everything beside it, at any depth.
class IndexReader final : public JsonEvents {
 public:
  explicit IndexReader(std::string_view file) : file_(file) {}

  std::map<std::string, std::string> take() {
    if (map_.empty()) fail("no weight_map");
    return std::move(map_);
  }

  bool null() override { return skip("null"); }
  bool boolean(bool) override { return skip("true or false"); }
  bool number_integer(int64_t) override { return skip("a number"); }
  bool number_unsigned(uint64_t) override { return skip("a number"); }
  bool number_float(double, const std::string&) override { return skip("a number"); }

  bool start_array(size_t) override {
    if (in_map_ || depth_ == 0) return refuse("an array");
    ++depth_;
    return true;
  }
  bool end_array() override {
    --depth_;
    return true;
  }
  bool start_object(size_t) override {
    if (in_map_) return refuse("an object");
    ++depth_;
    in_map_ = depth_ == 2 && key_ == "weight_map";
    return true;
  }
  bool end_object() override {
    --depth_;
    in_map_ = false;
    return true;
  }
  bool key(std::string& key) override {
    std::swap(key_, key);
    return true;
  }

  bool string(std::string& value) override {
    if (!in_map_) return skip("a string");
    const bool has_path = value.find_first_of(std::string_view("/\\\0", 3)) != std::string::npos;
    if (has_path || !value.ends_with(".safetensors")) {
      return fail(fmt::format("{} is said to be in \"{}\", which is not a .safetensors file of the same folder",
                              printable(key_), printable(value)));
    }
    if (map_.size() == kMaxTensors) return fail(fmt::format("more than {} tensors", kMaxTensors));
    const bool added = map_.emplace(key_, std::move(value)).second;
    return added ? true : fail(fmt::format("tensor {} occurs twice", printable(key_)));
  }

 private:
  bool skip(std::string_view event) const { return in_map_ || depth_ == 0 ? refuse(event) : true; }
  bool fail(const std::string& problem) const override { fail_damaged(file_, problem); }
  bool refuse(std::string_view event) const override {
    return fail(in_map_ ? fmt::format("{} instead of the file of tensor {}", event, printable(key_))
                        : fmt::format("the index is {}, not an object", event));
  }

  const std::string_view file_;
  std::map<std::string, std::string> map_;
  std::string key_;
  int64_t depth_ = 0;  // of open objects and arrays
  bool in_map_ = false;
};

}  // namespace

std::map<std::string, std::string> parse_safetensors_index(std::string_view text, std::string_view file_name) {
  IndexReader reader(file_name);
  reader.read(text);
  return reader.take();
}

}  // namespace arc
