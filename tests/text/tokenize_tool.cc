// Encodes and decodes texts for tools/compare_tokenizers.py.
//
//   arc_tokenize_tool MODEL_FOLDER    (or a tokenizer.json)
//
// Standard input: for each text its length in bytes (32 bits, little endian), and the text. Standard output, in the
// same order: the number of ids and the ids, then the length of the decoded text and the text, all numbers of 32 bits.
// A text that the tokenizer refuses gives the number 0xFFFFFFFF alone. Special tokens are added, parsed, and not
// skipped.
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/mapped_file.h"
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
std::string streamed(const arc::Tokenizer& tokenizer, const std::vector<int32_t>& ids) {
  arc::Detokenizer detokenizer(tokenizer, false);
  std::string text;
  for (const int32_t id : ids) text += detokenizer.push(id);
  return text + detokenizer.finish();
}

void answer(const arc::Tokenizer& tokenizer, const std::string& text) {
  try {
    const std::vector<int32_t> ids = tokenizer.encode(text);
    put_number(ids.size());
    put(ids.data(), ids.size() * sizeof ids[0]);
    const std::string decoded = streamed(tokenizer, ids);
    put_number(decoded.size());
    put(decoded.data(), decoded.size());
  } catch (const arc::Error&) {
    put_number(UINT32_MAX);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return std::fprintf(stderr, "usage: %s MODEL_FOLDER\n", argv[0]), 2;
  try {
    const std::filesystem::path path = argv[1];
    const arc::Tokenizer tokenizer = std::filesystem::is_directory(path)
                                         ? arc::load_tokenizer(path)
                                         : arc::Tokenizer::from_json(arc::read_text_file(path));
    std::string text;
    for (uint32_t size = 0; std::fread(&size, sizeof size, 1, stdin) == 1;) {
      text.resize(size);
      if (std::fread(text.data(), 1, size, stdin) != size) return 1;
      answer(tokenizer, text);
      std::fflush(stdout);  // the other side may wait for it
    }
  } catch (const arc::Error& error) {
    return std::fprintf(stderr, "%s\n", error.what()), 1;
  }
  return 0;
}
