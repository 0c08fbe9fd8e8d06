// Fuzz target of the GGUF parser. By the low bit of its first byte, the rest of an input is a whole file, or stands
// behind a valid magic and version with small counts, so that mutation meets metadata and tensors soon.
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/check.h"
#include "base/error.h"
#include "io/gguf.h"
#include "io/gguf_check.h"
#include "io/printable.h"

namespace {

// Bytes: tensors, pairs, then the rest of the header and the data.
std::string with_header(std::string_view input) {
  std::string file("GGUF\3\0\0\0", 8);
  for (size_t i = 0; i < 2; ++i) {
    file += i < input.size() ? static_cast<char>(input[i] & 7) : '\0';
    file.append(7, '\0');
  }
  return file.append(input.substr(std::min<size_t>(2, input.size())));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  const std::string file = data[0] % 2 == 0 ? std::string(rest) : with_header(rest);
  const std::span<const std::byte> bytes = std::as_bytes(std::span(file));
  try {
    const arc::GgufHeader header = arc::parse_gguf_header(bytes, "fuzz");
    const std::string broken = arc::test::broken_promise(header, bytes);
    ARC_CHECK(broken.empty()) << arc::printable(broken);
  } catch (const arc::Error& e) {
    ARC_CHECK(e.code() == arc::ErrorCode::corrupt_data || e.code() == arc::ErrorCode::unsupported) << e.what();
  }
  return 0;
}
