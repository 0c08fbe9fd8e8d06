// Tests of safetensors: round trips, hostile headers and indexes, damage at every byte.
#include "io/safetensors.h"

#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <unistd.h>
#include <utility>
#include <vector>

#include "fmt/format.h"
#include "gtest/gtest.h"

#include "base/error.h"
#include "io/safetensors_check.h"

namespace arc {
namespace {

namespace fs = std::filesystem;

// A folder of this test's own, gone when it ends.
class Safetensors : public testing::Test {
 protected:
  Safetensors() { fs::create_directories(folder_); }
  ~Safetensors() override { fs::remove_all(folder_); }

  fs::path path(const std::string& name) const { return folder_ / name; }
  fs::path write(const std::string& name, std::string_view bytes) const {
    std::ofstream(path(name), std::ios::binary) << bytes;
    return path(name);
  }

 private:
  fs::path folder_ = fs::temp_directory_path() / fmt::format("arc_safetensors_{}", ::getpid());
};

std::string file_of(std::string_view header, size_t data_bytes) {
  std::string file;
  for (int shift = 0; shift < 64; shift += 8) file.push_back(static_cast<char>(uint64_t{header.size()} >> shift));
  file += header;
  for (size_t i = 0; i < data_bytes; ++i) file.push_back(static_cast<char>(i));
  return file;
}

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

// The message of the Error that `parse` throws; empty when it throws none.
template <typename Parse>
std::string refusal(const Parse& parse) {
  try {
    parse();
    return "";
  } catch (const Error& e) {
    EXPECT_TRUE(e.code() == ErrorCode::corrupt_data || e.code() == ErrorCode::unsupported) << e.what();
    return e.what();
  }
}

std::string header_refusal(std::string_view file) {
  return refusal([&] { parse_safetensors_header(bytes_of(file), "m.safetensors"); });
}

Tensor counted(const Shape& shape, DType dtype) {
  const Tensor tensor = Tensor::zeros(shape, dtype);
  for (size_t i = 0; i < tensor.size_bytes(); ++i) tensor.data()[i] = static_cast<std::byte>(i * 37 + 11);
  return tensor;
}

std::string contents(const fs::path& path) {
  return read_text_file(path);
}

// ---- reading and writing -------------------------------------------------------------------------------------------

TEST_F(Safetensors, RoundTripsEveryElementType) {
  std::vector<NamedTensor> tensors;
  for (DType dtype : {DType::boolean, DType::f64, DType::f32, DType::f16, DType::bf16, DType::f8e4m3, DType::f8e5m2,
                      DType::i8, DType::u8, DType::i16, DType::i32, DType::i64}) {
    tensors.push_back({fmt::format("layer.{}", dtype_name(dtype)), counted({3, 5}, dtype)});
  }
  tensors.push_back({"scalar", counted({}, DType::bf16)});
  tensors.push_back({"empty \"quoted\"", counted({4, 0, 2}, DType::f32)});
  const Metadata metadata = {{"format", "pt"}, {"line", "a\nb"}};
  write_safetensors(path("a.safetensors"), tensors, metadata);

  const Checkpoint checkpoint = open_safetensors(path("a.safetensors"));
  EXPECT_EQ(checkpoint.metadata(), metadata);
  ASSERT_EQ(checkpoint.tensors().size(), tensors.size());
  for (const NamedTensor& expected : tensors) {
    const Tensor got = checkpoint.load(expected.name);
    EXPECT_EQ(got.shape(), expected.tensor.shape()) << expected.name;
    ASSERT_EQ(got.dtype(), expected.tensor.dtype()) << expected.name;
    EXPECT_EQ(std::memcmp(got.data(), expected.tensor.data(), got.size_bytes()), 0) << expected.name;
    EXPECT_EQ(reinterpret_cast<uintptr_t>(got.data()) % dtype_size(got.dtype()), 0u) << expected.name;
    checkpoint.release(expected.name);
    EXPECT_EQ(std::memcmp(got.data(), expected.tensor.data(), got.size_bytes()), 0) << expected.name;
  }
  EXPECT_EQ(checkpoint.find("layer"), nullptr);
  EXPECT_THROW(checkpoint.load("layer"), Error);
}

TEST_F(Safetensors, WritingDependsOnContentsOnly) {
  const NamedTensor a{"a", counted({2}, DType::u8)}, b{"b", counted({2}, DType::f32)}, c{"c", counted({1}, DType::f32)};
  write_safetensors(path("1"), std::vector{a, b, c});
  write_safetensors(path("2"), std::vector{c, a, b});
  EXPECT_EQ(contents(path("1")), contents(path("2")));
  EXPECT_FALSE(fs::exists(path("1.partial")));
}

TEST_F(Safetensors, WritingRefusesWhatCouldNotBeRead) {
  const auto write_named = [&](const std::vector<NamedTensor>& tensors) { write_safetensors(path("x"), tensors); };
  const Tensor t = counted({2}, DType::u8);
  EXPECT_THROW(write_named({{"a", t}, {"a", t}}), Error);
  EXPECT_THROW(write_named({{"__metadata__", t}}), Error);
  EXPECT_THROW(write_named({{"\xff", t}}), Error);
  EXPECT_THROW(write_named({{"a", counted({2}, DType::packed)}}), Error);
  EXPECT_FALSE(fs::exists(path("x")));
  EXPECT_THROW(write_safetensors(path("no such folder") / "x", {}), Error);
}

// The format allows any offset; elements must be aligned all the same.
TEST_F(Safetensors, MisalignedTensorsAreCopied) {
  const std::string header =
      R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"F32","shape":[2],"data_offsets":[1,9]}})";
  const Checkpoint checkpoint = open_safetensors(write("odd.safetensors", file_of(header, 9)));
  const Tensor b = checkpoint.load("b");
  EXPECT_EQ(reinterpret_cast<uintptr_t>(b.data()) % 4, 0u);
  EXPECT_EQ(b.data()[0], std::byte{1});
  EXPECT_EQ(b.data()[7], std::byte{8});
}

TEST_F(Safetensors, AHeaderOfManyTensorsTakesLinearTime) {
  std::string header = "{";
  for (int i = 0; i < 100'000; ++i) {
    header += fmt::format("\"model.layers.{}.w\":{{\"dtype\":\"BF16\",\"shape\":[0,7],\"data_offsets\":[0,0]}},", i);
  }
  header.back() = '}';
  EXPECT_EQ(parse_safetensors_header(bytes_of(file_of(header, 0)), "many").tensors.size(), 100'000u);
}

// ---- hostile headers -----------------------------------------------------------------------------------------------

TEST(SafetensorsHeader, RefusesAndSaysWhy) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      // header, part of the message
      {"[]", "does not start with {"},
      {"", "does not start with {"},
      {" {}", "does not start with {"},
      {"{", "broken JSON"},
      {"{} {}", "broken JSON"},
      {"{\"\xff\":{}}", "broken JSON"},
      {std::string("{}\0{}", 5), "broken JSON at byte 2"},
      {R"({})", "24 bytes belong to no tensor"},
      {R"({"a":5})", "tensor a: a number instead of an object"},
      {R"({"a":{"b":{}}})", "an object that does not belong in \"b\""},
      {R"({"a":{}})", "missing"},
      {R"({"a":{"dtype":"F32","shape":[6]}})", "missing"},
      {R"({"a":{"dtype":"F32","shape":[6],"data_offsets":[0]}})", "missing"},
      {R"({"a":{"dtype":"F32","shape":[6],"data_offsets":[0,24,24]}})", "a third number"},
      {R"({"a":{"dtype":"F32","dtype":"F32","shape":[6],"data_offsets":[0,24]}})", "a string"},
      {R"({"a":{"dtype":"F32","shape":[6],"shape":[6],"data_offsets":[0,24]}})", "an array"},
      {R"({"a":{"dtype":"F32","shape":[6],"data_offsets":[0,24],"x":1}})", "a number that does not belong in \"x\""},
      {R"({"a":{"dtype":"F32","shape":[-6],"data_offsets":[0,24]}})", "a negative number"},
      {R"({"a":{"dtype":"F32","shape":[6.0],"data_offsets":[0,24]}})", "no 64-bit integer"},
      {R"({"a":{"dtype":"F32","shape":[18446744073709551616],"data_offsets":[0,24]}})", "no 64-bit integer"},
      {R"({"a":{"dtype":"F32","shape":[9223372036854775808],"data_offsets":[0,24]}})", "past 63 bits"},
      {R"({"a":{"dtype":"F32","shape":[1,1,1,1,1,1,6],"data_offsets":[0,24]}})", "one size too many"},
      {R"({"a":{"dtype":"F32","shape":[[6]],"data_offsets":[0,24]}})", "an array"},
      {R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,24]}})", "more elements than"},
      {R"({"a":{"dtype":"F64","shape":[4611686018427387904],"data_offsets":[0,24]}})", "more elements than"},
      {R"({"a":{"dtype":"F32","shape":[7],"data_offsets":[0,24]}})", "f32 of shape [7] takes 28 bytes"},
      {R"({"a":{"dtype":"F32","shape":[7],"data_offsets":[0,28]}})", "do not lie in the 24 bytes"},
      {R"({"a":{"dtype":"F32","shape":[6],"data_offsets":[24,0]}})", "do not lie in"},
      {R"({"a":{"dtype":"F32","shape":[6],"data_offsets":[0,18446744073709551615]}})", "do not lie in"},
      {R"({"a":{"dtype":"F32","shape":[5],"data_offsets":[0,20]}})", "the last 4 bytes belong to no tensor"},
      {R"({"a":{"dtype":"F32","shape":[5],"data_offsets":[4,24]}})", "bytes before tensor a"},
      {R"({"a":{"dtype":"F32","shape":[6],"data_offsets":[0,24]},"b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
       "overlaps"},
      {R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,12]},"a":{"dtype":"F32","shape":[3],"data_offsets":[12,24]}})",
       "two tensors a"},
      {R"({"a":{"dtype":"F4","shape":[48],"data_offsets":[0,24]}})", "type F4, which Arc cannot read"},
      {R"({"__metadata__":{"k":1}})", "a number"},
      {R"({"__metadata__":{"k":"v","k":"w"}})", "a second value"},
      {R"({"__metadata__":"x"})", "instead of an object"},
      {"{\"a\\u001b[31m\":1}", "tensor a?[31m"},
  };
  for (const auto& [header, expected] : cases) {
    const std::string message = header_refusal(file_of(header, 24));
    EXPECT_NE(message.find(expected), std::string::npos) << header << "\n  " << message;
    EXPECT_NE(message.find("m.safetensors"), std::string::npos) << message;
  }
}

TEST(SafetensorsHeader, ChecksItsOwnLength) {
  EXPECT_NE(header_refusal(""), "");
  EXPECT_NE(header_refusal("1234567"), "");
  EXPECT_NE(header_refusal(std::string("\x03\0\0\0\0\0\0\0{}", 10)), "");
  EXPECT_NE(header_refusal(std::string(8, '\xff') + "{}"), "");
  EXPECT_EQ(header_refusal(file_of("{}", 0)), "");
  EXPECT_EQ(header_refusal(file_of("{}      ", 0)), "");
}

// Damage at every place: refused, or still a header that keeps its promises.
TEST(SafetensorsHeader, SurvivesEveryTruncationAndChangedByte) {
  const std::string valid =
      file_of(R"({"__metadata__":{"k":"v"},"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},)"
              R"("b":{"dtype":"U8","shape":[8],"data_offsets":[16,24]}})",
              24);
  ASSERT_EQ(header_refusal(valid), "");
  const auto try_parse = [](const std::string& file) {
    return refusal([&] {
      const SafetensorsHeader header = parse_safetensors_header(bytes_of(file), "damaged");
      ASSERT_EQ(test::broken_promise(header, bytes_of(file)), "");
    });
  };
  for (size_t n = 0; n < valid.size(); ++n) EXPECT_NE(try_parse(valid.substr(0, n)), "") << n;
  int n_refused = 0, n_tried = 0;
  for (size_t i = 0; i < valid.size() - 24; ++i) {
    for (int value = 0; value < 256; ++value) {
      std::string damaged = valid;
      damaged[i] = static_cast<char>(value);
      n_refused += try_parse(damaged).empty() ? 0 : 1;
      ++n_tried;
    }
  }
  EXPECT_GT(n_refused, n_tried / 2);
}

// ---- several files -------------------------------------------------------------------------------------------------

TEST(SafetensorsIndex, ReadsTheMapAndSkipsTheRest) {
  const std::string text = R"({"metadata":{"weight_map":{"no":1},"n":[1,-2,3.5,null,{"x":true}]},)"
                           R"("weight_map":{"a":"1.safetensors","b":"2.safetensors"},"later":{"weight_map":"no"}})";
  const std::map<std::string, std::string> expected = {{"a", "1.safetensors"}, {"b", "2.safetensors"}};
  EXPECT_EQ(parse_safetensors_index(text, "index"), expected);
}

TEST(SafetensorsIndex, RefusesAndSaysWhy) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"[]", "not an object"},
      {"{}", "no weight_map"},
      {R"({"weight_map":[]})", "no weight_map"},
      {R"({"weight_map":{}})", "no weight_map"},
      {R"({"weight_map":{"a":1}})", "a number instead of the file of tensor a"},
      {R"({"weight_map":{"a":{"b":"c.safetensors"}}})", "an object instead"},
      {R"({"weight_map":{"a":["c.safetensors"]}})", "an array instead"},
      {R"({"weight_map":{"a":"../c.safetensors"}})", "same folder"},
      {R"({"weight_map":{"a":"/etc/c.safetensors"}})", "same folder"},
      {R"({"weight_map":{"a":"..\\c.safetensors"}})", "same folder"},
      {R"({"weight_map":{"a":"c\u0000.safetensors"}})", "same folder"},
      {R"({"weight_map":{"a":"pytorch_model.bin"}})", "same folder"},
      {R"({"weight_map":{"a":"1.safetensors","a":"2.safetensors"}})", "tensor a occurs twice"},
      {R"({"weight_map":{"a":"1.safetensors"})", "broken JSON"},
  };
  for (const auto& [text, expected] : cases) {
    const std::string message = refusal([&] { parse_safetensors_index(text, "index.json"); });
    EXPECT_NE(message.find(expected), std::string::npos) << text << "\n  " << message;
  }
}

TEST_F(Safetensors, ShardsMakeOneCheckpoint) {
  const Tensor a = counted({4}, DType::f32), b = counted({3}, DType::bf16);
  write_safetensors(path("1.safetensors"), std::vector<NamedTensor>{{"a", a}}, {{"from", "1"}});
  write_safetensors(path("2.safetensors"), std::vector<NamedTensor>{{"b", b}}, {{"from", "2"}});
  const auto open = [&](const std::string& map) {
    return open_safetensors(write("model.safetensors.index.json", "{\"weight_map\":{" + map + "}}"));
  };
  const Checkpoint checkpoint = open(R"("a":"1.safetensors","b":"2.safetensors")");
  EXPECT_EQ(checkpoint.size_bytes(), 22u);
  EXPECT_EQ(checkpoint.metadata().at("from"), "1");
  EXPECT_EQ(checkpoint.path_of(*checkpoint.find("b")).filename(), "2.safetensors");
  EXPECT_EQ(std::memcmp(checkpoint.load("b").data(), b.data(), 6), 0);

  EXPECT_THROW(open(R"("a":"1.safetensors","b":"3.safetensors")"), Error);  // no such file
  EXPECT_THROW(open(R"("a":"1.safetensors","b":"1.safetensors")"), Error);  // not in that file
  write_safetensors(path("2.safetensors"), std::vector<NamedTensor>{{"a", a}, {"b", b}});
  EXPECT_THROW(open(R"("a":"1.safetensors","b":"2.safetensors")"), Error);  // `a` is in both
}

}  // namespace
}  // namespace arc
