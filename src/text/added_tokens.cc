#include "text/added_tokens.h"

#include <algorithm>
#include <charconv>

#include "fmt/format.h"

#include "base/error.h"
#include "base/utf8.h"
#include "text/unicode.h"

namespace arc {
namespace {

constexpr size_t kMaxContentBytes = 1024;  // bounds the trie's walk at every position

size_t character_before(std::string_view text, size_t end) {
  size_t begin = end - 1;
  while (begin > 0 && (text[begin] & 0xC0) == 0x80) --begin;
  return begin;
}

bool touches_word(std::string_view text, size_t begin, size_t end) {
  if (begin > 0) {
    size_t before = character_before(text, begin);
    if (is_unicode_word(utf8_decode(text, before))) return true;
  }
  return end < text.size() && is_unicode_word(utf8_decode(text, end));
}

size_t skip_spaces_back(std::string_view text, size_t begin) {
  while (begin > 0) {
    const size_t before = character_before(text, begin);
    size_t i = before;
    if (!is_unicode_space(utf8_decode(text, i))) break;
    begin = before;
  }
  return begin;
}

size_t skip_spaces(std::string_view text, size_t end) {
  for (size_t i = end; i < text.size(); end = i) {
    if (!is_unicode_space(utf8_decode(text, i))) break;
  }
  return end;
}

// All but `normalized`.
AddedToken read_token(const JsonFields& fields, int64_t id) {
  AddedToken token{.id = static_cast<int32_t>(id),
                   .content = fields.text("content"),
                   .single_word = fields.flag_or("single_word", false),
                   .lstrip = fields.flag_or("lstrip", false),
                   .rstrip = fields.flag_or("rstrip", false),
                   .special = fields.flag_or("special", false)};
  if (id < 0 || id >= kMaxTokens) fields.fail(fmt::format("`{}` has id {}, out of range", token.content, id));
  if (token.content.size() > kMaxContentBytes) {
    fields.fail(fmt::format("token {} has {} bytes; the limit is {}", id, token.content.size(), kMaxContentBytes));
  }
  return token;
}

}  // namespace

AddedTokens::AddedTokens(std::vector<AddedToken> tokens, const Normalizer& normalizer) : tokens_(std::move(tokens)) {
  std::vector<std::string> normal(tokens_.size());
  std::vector<Trie::Entry> raw_entries, normalized_entries;
  for (const bool special : {true, false}) {  // of tokens that are looked for as the same text, special ones win
    for (size_t i = 0; i < tokens_.size(); ++i) {
      const AddedToken& token = tokens_[i];
      if (token.special != special) continue;
      by_id_.insert_or_assign(token.id, i);
      by_content_.insert_or_assign(token.content, i);
      if (token.normalized) normal[i] = normalizer.apply(token.content);
      auto& entries = token.normalized ? normalized_entries : raw_entries;
      entries.emplace_back(token.normalized ? normal[i] : token.content, static_cast<int32_t>(i));
    }
  }
  raw_ = Trie(std::move(raw_entries));
  normalized_ = Trie(std::move(normalized_entries));
}

std::vector<Segment> AddedTokens::split_raw(std::string_view text, std::span<const ByteRange> plain) const {
  return split(raw_, text, plain);
}

std::vector<Segment> AddedTokens::split_normalized(std::string_view text, std::span<const ByteRange> plain) const {
  return split(normalized_, text, plain);
}

std::vector<Segment> AddedTokens::split(const Trie& trie, std::string_view text,
                                        std::span<const ByteRange> plain) const {
  std::vector<Segment> segments;
  size_t done = 0;
  for (size_t i = 0; i < text.size();) {
    Trie::Match match = trie.longest(text.substr(i));
    if (match.value >= 0 && tokens_[static_cast<size_t>(match.value)].special) {
      const ByteRange* range = range_after(plain, i);
      if (range != nullptr && range->begin <= i) {
        i = std::min(i + match.size, range->end);
        continue;
      }
      if (range != nullptr && range->begin < i + match.size) match = trie.longest(text.substr(i, range->begin - i));
    }
    if (match.value < 0) {
      ++i;
      continue;
    }
    size_t begin = i, end = i + match.size;
    i = end;  // a match that is turned down still is stepped over, as in `tokenizers`
    const AddedToken& token = tokens_[static_cast<size_t>(match.value)];
    if (token.single_word && touches_word(text, begin, end)) continue;
    if (token.lstrip) begin = std::max(skip_spaces_back(text, begin), done);
    if (token.rstrip) end = skip_spaces(text, end);
    if (done < begin) segments.push_back({done, begin, std::nullopt});
    segments.push_back({begin, end, token.id});
    done = end;
  }
  if (done < text.size()) segments.push_back({done, text.size(), std::nullopt});
  return segments;
}

const AddedToken* AddedTokens::find(int32_t id) const {
  const auto it = by_id_.find(id);
  return it == by_id_.end() ? nullptr : &tokens_[it->second];
}

const AddedToken* AddedTokens::find(std::string_view content) const {
  const auto it = by_content_.find(std::string(content));
  return it == by_content_.end() ? nullptr : &tokens_[it->second];
}

int32_t AddedTokens::size() const {
  int32_t size = 0;
  for (const AddedToken& token : tokens_) size = std::max(size, token.id + 1);
  return size;
}

std::vector<AddedToken> read_added_tokens(const FileJson& section, const Vocabulary& vocabulary) {
  std::vector<AddedToken> tokens;
  if (section.is_null()) return tokens;
  if (!section.is_array()) throw Error(ErrorCode::corrupt_data, "tokenizer.json: `added_tokens` must be an array");
  for (const FileJson& entry : section) {
    const JsonFields fields(entry, "tokenizer.json: added_tokens");
    AddedToken token = read_token(fields, fields.integer("id"));
    if (token.content.empty()) continue;
    token.normalized = fields.flag_or("normalized", !token.special);
    token.id = vocabulary.find(token.content).value_or(token.id);
    tokens.push_back(std::move(token));
  }
  return tokens;
}

std::vector<AddedToken> read_added_tokens_decoder(const FileJson& config) {
  std::vector<AddedToken> tokens;
  const auto section = config.find("added_tokens_decoder");
  if (section == config.end() || section->is_null()) return tokens;
  if (!section->is_object()) {
    throw Error(ErrorCode::corrupt_data, "tokenizer_config.json: `added_tokens_decoder` must be an object");
  }
  for (const auto& [key, value] : section->items()) {
    const JsonFields fields(value, "tokenizer_config.json: added_tokens_decoder");
    int64_t id = -1;
    const char* end = key.data() + key.size();
    const auto [stop, error] = std::from_chars(key.data(), end, id);
    if (error != std::errc() || stop != end) fields.fail(fmt::format("`{}` is no token id", key));
    AddedToken token = read_token(fields, id);
    if (!token.content.empty()) tokens.push_back(std::move(token));
  }
  return tokens;
}

}  // namespace arc
