// Fuzz target of the safetensors parsers. An input that starts with '{' is a header in front of 24 bytes of data, one
// that starts with 'i' is an index behind that letter, and anything else is a whole file. Dictionary:
// safetensors_fuzz.dict.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "base/error.h"
#include "io/safetensors.h"
#include "io/safetensors_check.h"

namespace {

constexpr size_t kDataBytes = 24;  // takes tensors of every element size, several at once

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
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    if (text.starts_with('i')) {
      try_index(text.substr(1));
    } else if (text.starts_with('{')) {
      try_file(file_around(text));
    } else {
      try_file(std::as_bytes(std::span(data, size)));
    }
  } catch (const arc::Error& e) {
    ARC_CHECK(e.code() == arc::ErrorCode::corrupt_data || e.code() == arc::ErrorCode::unsupported) << e.what();
  }
  return 0;
}
