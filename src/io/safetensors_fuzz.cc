// Fuzz target of the safetensors parsers. By the low bits of its first byte, the rest of an input is a whole file,
// spells an index, or (half of the time) spells a header in front of 24 bytes of data.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "base/error.h"
#include "io/safetensors.h"
#include "io/safetensors_check.h"

namespace {

constexpr size_t kDataBytes = 24;

// What bytes below 0x20 stand for when spelling: JSON has no use for them, and blind mutation would take long to find
// whole members that fit each other.
constexpr std::string_view kFragments[0x20] = {
    "[",
    "}",
    ",",
    R"("a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]})",
    R"("b":{"dtype":"U8","shape":[8],"data_offsets":[0,8]})",
    R"("c":{"dtype":"F64","shape":[2],"data_offsets":[8,24]})",
    R"("d":{"dtype":"BF16","shape":[0,5],"data_offsets":[8,8]})",
    R"("e":{"dtype":"F16","shape":[],"data_offsets":[8,10]})",
    R"("f":{)",
    R"("dtype":"I16")",
    R"("dtype":"F8_E4M3")",
    R"("dtype":"BOOL")",
    R"("shape":[7])",
    R"("shape":[)",
    R"("data_offsets":[10,24])",
    R"("data_offsets":[)",
    "]",
    R"("__metadata__":{)",
    R"("k":"v")",
    R"("k":)",
    "4294967296",
    "9223372036854775807",
    "18446744073709551615",
    "-1",
    "1e3",
    R"("weight_map":{)",
    R"("a":"1.safetensors")",
    R"("b":"2.safetensors")",
    R"("c":"../3.safetensors")",
    R"("metadata":{)",
    "null",
    "true",
};

// An object of the fragments, with commas before members where the last one ended, so that most inputs are JSON.
std::string spell(std::string_view input) {
  std::string text = "{";
  for (const char c : input) {
    const auto byte = static_cast<uint8_t>(c);
    const std::string_view fragment = byte < 0x20 ? kFragments[byte] : std::string_view(&c, 1);
    const bool after_member = text.find_last_of("{[,:") + 1 != text.size();
    if (byte < 0x20 && fragment.starts_with('"') && after_member) text += ',';
    text += fragment;
  }
  return text + "}";
}

std::vector<std::byte> file_around(std::string_view header) {
  std::vector<std::byte> file(8 + header.size() + kDataBytes);
  for (size_t i = 0; i < 8; ++i) file[i] = static_cast<std::byte>(uint64_t{header.size()} >> (8 * i));
  std::memcpy(file.data() + 8, header.data(), header.size());
  return file;
}

void try_file(std::span<const std::byte> file) {
  const arc::SafetensorsHeader header = arc::parse_safetensors_header(file, "fuzz");
  const std::string broken = arc::test::broken_promise(header, file);
  ARC_CHECK(broken.empty()) << broken;
}

void try_index(std::string_view text) {
  for (const auto& [tensor, file] : arc::parse_safetensors_index(text, "fuzz")) {
    ARC_CHECK(file.find('/') == std::string::npos && file.ends_with(".safetensors")) << file;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  try {
    switch (data[0] % 4) {
      case 0:
        try_file(std::as_bytes(std::span(rest)));
        break;
      case 1:
        try_index(spell(rest));
        break;
      default:
        try_file(file_around(spell(rest)));
    }
  } catch (const arc::Error& e) {
    ARC_CHECK(e.code() == arc::ErrorCode::corrupt_data || e.code() == arc::ErrorCode::unsupported) << e.what();
  }
  return 0;
}
