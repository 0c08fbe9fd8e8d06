#include "text/wordpiece.h"

#include <algorithm>

#include "fmt/format.h"

#include "base/error.h"

namespace arc {
namespace {

int32_t unknown_id(const Vocabulary& vocabulary, const std::string& unk_token, std::string_view word) {
  if (const auto id = vocabulary.find(unk_token)) return *id;
  throw Error(ErrorCode::invalid_argument,
              fmt::format("the tokenizer has no token for `{}`, and its unknown token `{}` is not in the vocabulary",
                          word.substr(0, 64), unk_token));
}

int64_t count_characters(std::string_view word) {
  return std::ranges::count_if(word, [](char byte) { return (byte & 0xC0) != 0x80; });
}

}  // namespace

WordPiece::WordPiece(Vocabulary vocabulary, WordPieceOptions options)
    : vocabulary_(std::move(vocabulary)), options_(std::move(options)), trie_(vocabulary_.trie()) {
  continued_ = trie_.walk(Trie::kRoot, options_.continuing_subword_prefix);
}

void WordPiece::encode(std::string_view word, std::vector<int32_t>& ids) const {
  const size_t n_before = ids.size();
  bool known = count_characters(word) <= options_.max_input_chars_per_word;
  for (size_t done = 0; known && done < word.size();) {
    const int32_t from = done == 0 ? Trie::kRoot : continued_;
    const auto match = from == Trie::kNowhere ? Trie::Match() : trie_.longest(word.substr(done), from);
    known = match.value >= 0;
    if (known) ids.push_back(match.value);
    done += match.size;
  }
  if (known) return;
  ids.resize(n_before);
  ids.push_back(unknown_id(vocabulary_, options_.unk_token, word));
}

void WordLevel::encode(std::string_view word, std::vector<int32_t>& ids) const {
  const auto id = vocabulary_.find(word);
  ids.push_back(id ? *id : unknown_id(vocabulary_, unk_token_, word));
}

}  // namespace arc
