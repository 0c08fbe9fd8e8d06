// libFuzzer target: a letter for the kind of file (s: SentencePiece, k: tekken, else tiktoken), a byte for the length
// of a text, the text, and the file. The only way out is a tokenizer that works or an arc::Error.
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "text/sentencepiece.h"
#include "text/tekken.h"
#include "text/tiktoken.h"
#include "text/tokenizer_check.h"

namespace {

arc::TokenizerParts read(char kind, std::string_view file) {
  if (kind == 's') {
    return arc::tokenizer_of_pieces(arc::parse_sentencepiece(file), {.add_bos = true, .prefix_first_only = true});
  }
  return kind == 'k' ? arc::read_tekken(file) : arc::read_tiktoken(file, "qwen", {});
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2 || size - 2 < data[1]) return 0;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  try {
    arc::check_tokenizer(arc::Tokenizer(read(input[0], input.substr(2 + data[1]))), input.substr(2, data[1]));
  } catch (const arc::Error&) {  // expected of most inputs
  }
  return 0;
}
