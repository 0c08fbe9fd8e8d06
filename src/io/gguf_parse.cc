// The parser of GGUF headers. Its input is hostile: every number is checked before it is used.
#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <utility>

#include "fmt/format.h"

#include "base/error.h"
#include "io/gguf.h"
#include "io/gguf_types.h"
#include "io/printable.h"

namespace arc {
namespace {

constexpr uint64_t kMaxPairs = 65'536, kMaxTensors = 1'000'000, kMaxNameBytes = 65'535;
constexpr uint32_t kMaxSizes = 4, kMaxAlignment = 1 << 20;
constexpr uint64_t kMinPairBytes = 8 + 4 + 1, kMinTensorBytes = 8 + 4 + 4 + 8;

// Bytes of a scalar; 0: of no fixed size.
constexpr size_t kScalarBytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

// Takes the file apart from front to back.
class Reader {
 public:
  Reader(std::span<const std::byte> file, std::string_view name) : file_(file), name_(name) {}

  template <typename T>
  T number() {
    T value;
    std::memcpy(&value, take(sizeof(T)).data(), sizeof(T));
    return value;
  }

  std::span<const std::byte> take(uint64_t count) {
    if (count > rest()) fail(fmt::format("it ends inside {}", what_));
    at_ += count;
    return file_.subspan(at_ - count, count);
  }

  std::string_view text(uint64_t max_bytes = std::numeric_limits<uint64_t>::max()) {
    const auto length = number<uint64_t>();
    if (length > max_bytes) fail(fmt::format("a name of {} bytes in {}", length, what_));
    const std::span<const std::byte> bytes = take(length);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

  GgufType type() {
    const auto number = this->number<uint32_t>();
    if (number >= std::size(kScalarBytes)) fail(fmt::format("{} has a value of the unknown type {}", what_, number));
    return static_cast<GgufType>(number);
  }

  // A count of things that take at least `min_bytes` each.
  uint64_t count(uint64_t min_bytes, uint64_t limit, std::string_view of) {
    const auto n = number<uint64_t>();
    if (n > limit || n > file_.size() / min_bytes)
      fail(fmt::format("{} {} in a file of {} bytes", n, of, file_.size()));
    return n;
  }

  size_t at() const { return at_; }
  size_t rest() const { return file_.size() - at_; }
  void set_what(std::string what) { what_ = std::move(what); }  // is being read, for messages
  [[noreturn]] void fail(const std::string& problem) const { fail_damaged(name_, problem); }

 private:
  const std::span<const std::byte> file_;
  const std::string_view name_;
  size_t at_ = 0;
  std::string what_ = "its header";
};

GgufValue read_value(Reader& in) {
  GgufType type = in.type();
  uint64_t count = 1;
  const bool is_array = type == GgufType::array;
  if (is_array) {
    type = in.type();
    count = in.number<uint64_t>();
    if (type == GgufType::array) in.fail("an array of arrays in its metadata");
  }
  const size_t size = kScalarBytes[static_cast<size_t>(type)];
  if (count > in.rest() / std::max<size_t>(size, 1)) in.fail("an array in its metadata is longer than the file");
  if (size > 0) return GgufValue(type, is_array, count, in.take(count * size));
  Reader ahead = in;
  for (uint64_t i = 0; i < count; ++i) ahead.text();
  return GgufValue(type, is_array, count, in.take(ahead.at() - in.at()));
}

void read_metadata(Reader& in, uint64_t n_pairs, GgufMetadata& metadata) {
  for (uint64_t i = 0; i < n_pairs; ++i) {
    in.set_what(fmt::format("pair {} of its metadata", i));
    std::string key(in.text(kMaxNameBytes));
    in.set_what(fmt::format("\"{}\" of its metadata", printable(key)));
    if (!metadata.emplace(key, read_value(in)).second) in.fail(fmt::format("two pairs \"{}\"", printable(key)));
  }
}

// A tensor whose offset counts from the start of the data still.
TensorEntry read_tensor(Reader& in, std::string_view file_name) {
  TensorEntry tensor{.name = std::string(in.text(kMaxNameBytes))};
  in.set_what(fmt::format("tensor {}", printable(tensor.name)));
  const auto fail = [&](const std::string& problem) {
    in.fail(fmt::format("tensor {}: {}", printable(tensor.name), problem));
  };
  const auto rank = in.number<uint32_t>();
  if (rank > kMaxSizes) fail(fmt::format("{} sizes", rank));
  int64_t sizes[kMaxSizes] = {};
  for (uint32_t i = 0; i < rank; ++i) sizes[rank - 1 - i] = std::bit_cast<int64_t>(in.number<uint64_t>());
  const std::optional<int64_t> numel = Shape::checked_numel({sizes, rank});
  if (!numel) fail("more elements than memory has addresses");
  tensor.shape = Shape({sizes, rank});

  const auto number = in.number<uint32_t>();
  const GgmlType* type = find_ggml_type(number);
  if (type == nullptr || (type->dtype == DType::packed && type->code == BlockCode::none)) {
    throw Error(ErrorCode::unsupported,
                fmt::format("{}: tensor {} is of type {}, which Arc cannot read: use a file of another quantisation, "
                            "such as Q4_K_M or Q8_0",
                            file_name, printable(tensor.name),
                            type == nullptr ? fmt::format("number {}", number) : std::string(type->name)));
  }
  tensor.dtype = type->dtype;
  tensor.code = type->code;
  const bool blocks = type->code != BlockCode::none;
  const BlockCodeInfo& info = block_code_info(type->code);
  const int64_t elements = blocks ? info.elements : 1;
  if (rank > 0 && sizes[rank - 1] % elements != 0) {
    fail(fmt::format("rows of {} elements are no whole blocks of {}", sizes[rank - 1], type->name));
  }
  const uint64_t unit = blocks ? static_cast<uint64_t>(info.bytes) : dtype_size(type->dtype);
  if (blocks && rank == 0) fail("a single number in blocks");
  if (__builtin_mul_overflow(static_cast<uint64_t>(*numel / elements), unit, &tensor.size_bytes)) {
    fail("more bytes than memory has addresses");
  }
  tensor.offset = in.number<uint64_t>();
  return tensor;
}

uint64_t alignment_of(const GgufMetadata& metadata, const Reader& in) {
  const auto found = metadata.find("general.alignment");
  if (found == metadata.end()) return 32;
  const std::optional<int64_t> alignment = found->second.integer();
  if (!alignment || *alignment < 1 || *alignment > kMaxAlignment || !std::has_single_bit(uint64_t(*alignment))) {
    in.fail("general.alignment is no power of two up to a million");
  }
  return static_cast<uint64_t>(*alignment);
}

// Moves offsets to count from the file's start; tensors must lie in the data, and no byte may belong to two.
void place(std::vector<TensorEntry>& tensors, uint64_t alignment, const Reader& in, size_t file_bytes) {
  // A file without data may end before the padding does.
  const uint64_t begin = std::min<uint64_t>((in.at() + alignment - 1) / alignment * alignment, file_bytes);
  const uint64_t data_bytes = file_bytes - begin;
  for (TensorEntry& t : tensors) {
    if (t.offset % alignment != 0 || t.offset > data_bytes || t.size_bytes > data_bytes - t.offset) {
      in.fail(fmt::format("tensor {}: {} bytes at offset {} do not lie in the {} bytes of data", printable(t.name),
                          t.size_bytes, t.offset, data_bytes));
    }
    t.offset += begin;
  }
  std::ranges::sort(tensors, {}, [](const TensorEntry& t) { return std::pair(t.offset, t.size_bytes); });
  uint64_t covered = 0;
  for (const TensorEntry& t : tensors) {
    if (t.size_bytes > 0 && t.offset < covered) {
      in.fail(fmt::format("tensor {} overlaps another one", printable(t.name)));
    }
    covered = std::max<uint64_t>(covered, t.offset + t.size_bytes);
  }
}

}  // namespace

GgufHeader parse_gguf_header(std::span<const std::byte> file, std::string_view file_name) {
  Reader in(file, file_name);
  if (in.rest() < 8 || std::memcmp(in.take(4).data(), "GGUF", 4) != 0) in.fail("it does not start with GGUF");
  const auto version = in.number<uint32_t>();
  if (version != 2 && version != 3) {
    throw Error(ErrorCode::unsupported,
                fmt::format("{}: GGUF version {}; Arc reads 2 and 3, little-endian: convert the model again", file_name,
                            version));
  }
  GgufHeader header;
  const uint64_t n_tensors = in.count(kMinTensorBytes, kMaxTensors, "tensors");
  const uint64_t n_pairs = in.count(kMinPairBytes, kMaxPairs, "pairs of metadata");
  read_metadata(in, n_pairs, header.metadata);
  for (uint64_t i = 0; i < n_tensors; ++i) {
    in.set_what(fmt::format("the description of tensor {}", i));
    header.tensors.push_back(read_tensor(in, file_name));
  }
  place(header.tensors, alignment_of(header.metadata, in), in, file.size());
  std::ranges::sort(header.tensors, {}, &TensorEntry::name);
  const auto twice = std::ranges::adjacent_find(header.tensors, {}, &TensorEntry::name);
  if (twice != header.tensors.end()) in.fail(fmt::format("two tensors {}", printable(twice->name)));
  return header;
}

}  // namespace arc
