#include "text/added_tokens.h"

#include <algorithm>

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

}  // namespace

TokenTrie::TokenTrie() : roots_{} {
  roots_.fill(-1);
}

void TokenTrie::add(std::string_view text, size_t token) {
  int32_t node = -1;
  for (const char byte : text) {
    const int32_t next = child(node, byte);
    node = next >= 0 ? next : add_child(node, byte);
  }
  if (node >= 0 && nodes_[static_cast<size_t>(node)].token < 0) {
    nodes_[static_cast<size_t>(node)].token = static_cast<int32_t>(token);
  }
}

int32_t TokenTrie::child(int32_t parent, char byte) const {
  if (parent < 0) return roots_[static_cast<uint8_t>(byte)];
  int32_t node = nodes_[static_cast<size_t>(parent)].first_child;
  while (node >= 0 && nodes_[static_cast<size_t>(node)].byte != byte) {
    node = nodes_[static_cast<size_t>(node)].next_sibling;
  }
  return node;
}

int32_t TokenTrie::add_child(int32_t parent, char byte) {
  const auto node = static_cast<int32_t>(nodes_.size());
  nodes_.push_back({.byte = byte});
  int32_t& first = parent < 0 ? roots_[static_cast<uint8_t>(byte)] : nodes_[static_cast<size_t>(parent)].first_child;
  nodes_.back().next_sibling = first;
  first = node;
  return node;
}

std::optional<TokenTrie::Match> TokenTrie::longest_at(std::string_view text, size_t begin) const {
  std::optional<Match> longest;
  int32_t node = -1;
  for (size_t i = begin; i < text.size(); ++i) {
    node = child(node, text[i]);
    if (node < 0) break;
    const int32_t token = nodes_[static_cast<size_t>(node)].token;
    if (token >= 0) longest = Match{static_cast<size_t>(token), i + 1 - begin};
  }
  return longest;
}

AddedTokens::AddedTokens(std::vector<AddedToken> tokens, const Normalizer& normalizer) : tokens_(std::move(tokens)) {
  for (const bool special : {true, false}) {  // of tokens that are looked for as the same text, special ones win
    for (size_t i = 0; i < tokens_.size(); ++i) {
      if (tokens_[i].special == special) add(i, normalizer);
    }
  }
}

void AddedTokens::add(size_t index, const Normalizer& normalizer) {
  const AddedToken& token = tokens_[index];
  by_id_.insert_or_assign(token.id, index);
  by_content_.insert_or_assign(token.content, index);
  if (token.normalized) {
    normalized_.add(normalizer.apply(token.content), index);
  } else {
    raw_.add(token.content, index);
  }
}

std::vector<Segment> AddedTokens::split_raw(std::string_view text, bool parse_special) const {
  return split(raw_, text, parse_special);
}

std::vector<Segment> AddedTokens::split_normalized(std::string_view text, bool parse_special) const {
  return split(normalized_, text, parse_special);
}

std::vector<Segment> AddedTokens::split(const TokenTrie& trie, std::string_view text, bool parse_special) const {
  std::vector<Segment> segments;
  size_t done = 0;
  for (size_t i = 0; i < text.size();) {
    const auto match = trie.longest_at(text, i);
    if (!match) {
      ++i;
      continue;
    }
    size_t begin = i, end = i + match->size;
    i = end;  // a match that is turned down still is stepped over, as in `tokenizers`
    const AddedToken& token = tokens_[match->token];
    if (token.special && !parse_special) continue;
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
    AddedToken token{.content = fields.text("content"),
                     .single_word = fields.flag_or("single_word", false),
                     .lstrip = fields.flag_or("lstrip", false),
                     .rstrip = fields.flag_or("rstrip", false),
                     .special = fields.flag_or("special", false)};
    token.normalized = fields.flag_or("normalized", !token.special);
    const int64_t id = fields.integer("id");
    if (id < 0 || id >= kMaxTokens) fields.fail(fmt::format("`{}` has id {}, out of range", token.content, id));
    if (token.content.size() > kMaxContentBytes) {
      fields.fail(fmt::format("token {} has {} bytes; the limit is {}", id, token.content.size(), kMaxContentBytes));
    }
    if (token.content.empty()) continue;
    token.id = vocabulary.find(token.content).value_or(static_cast<int32_t>(id));
    tokens.push_back(std::move(token));
  }
  return tokens;
}

}  // namespace arc
