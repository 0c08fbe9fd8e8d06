// Encodes and decodes texts for tools/compare_tokenizers.py and compare_tokenizer_files.py.
//
//   arc_tokenize_tool MODEL_FOLDER [plain]    (or a tokenizer.json, or a GGUF file)
//
// Standard input: for each text its length in bytes (32 bits, little endian), and the text. Standard output, in the
// same order: the number of ids and the ids, then the length of the decoded text and the text, all numbers of 32 bits.
// A text that the tokenizer refuses gives the number 0xFFFFFFFF alone. Special tokens are added, parsed, and not
// skipped; with `plain`, neither added nor parsed, and skipped.
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/mapped_file.h"
#include "engine/gguf_tokenizer.h"
#include "io/gguf.h"
#include "text/detokenizer.h"
#include "text/tokenizer.h"

namespace {

void put(const void* bytes, size_t n) {
  if (std::fwrite(bytes, 1, n, stdout) != n) std::exit(1);
}

void put_number(size_t value) {
  const auto number = static_cast<uint32_t>(value);
  put(&number, sizeof number);
}

// As a stream gives it: token by token.
std::string streamed(const arc::Tokenizer& tokenizer, const std::vector<int32_t>& ids, bool plain) {
  arc::Detokenizer detokenizer(tokenizer, plain);
  std::string text;
  for (const int32_t id : ids) text += detokenizer.push(id);
  return text + detokenizer.finish();
}

void answer(const arc::Tokenizer& tokenizer, const std::string& text, bool plain) {
  try {
    const std::vector<int32_t> ids = tokenizer.encode(text, {.add_special_tokens = !plain, .parse_special = !plain});
    put_number(ids.size());
    put(ids.data(), ids.size() * sizeof ids[0]);
    const std::string decoded = streamed(tokenizer, ids, plain);
    put_number(decoded.size());
    put(decoded.data(), decoded.size());
  } catch (const arc::Error&) {
    put_number(UINT32_MAX);
  }
}

arc::Tokenizer load(const std::filesystem::path& path) {
  if (std::filesystem::is_directory(path)) return arc::load_tokenizer(path);
  if (path.extension() == ".gguf") return arc::gguf_tokenizer(arc::open_gguf(path).metadata);
  return arc::Tokenizer::from_json(arc::read_text_file(path));
}

}  // namespace

int main(int argc, char** argv) {
  const bool plain = argc == 3 && std::string_view(argv[2]) == "plain";
  if (argc != 2 && !plain) return std::fprintf(stderr, "usage: %s MODEL_FOLDER [plain]\n", argv[0]), 2;
  try {
    const arc::Tokenizer tokenizer = load(argv[1]);
    std::string text;
    for (uint32_t size = 0; std::fread(&size, sizeof size, 1, stdin) == 1;) {
      text.resize(size);
      if (std::fread(text.data(), 1, size, stdin) != size) return 1;
      answer(tokenizer, text, plain);
      std::fflush(stdout);  // the other side may wait for it
    }
  } catch (const arc::Error& error) {
    return std::fprintf(stderr, "%s\n", error.what()), 1;
  }
  return 0;
}
