#include "text/vocabulary.h"

#include <algorithm>
#include <iterator>

#include "fmt/format.h"

#include "base/error.h"

namespace arc {
namespace {

constexpr size_t kMaxWalk = 1024;

}  // namespace

Vocabulary::Vocabulary(const std::vector<TokenEntry>& tokens) {
  int64_t end = 0;
  for (const auto& [text, id] : tokens) {
    if (id < 0 || id >= kMaxTokens) {
      throw Error(ErrorCode::corrupt_data,
                  fmt::format("tokenizer: token `{}` has id {}; ids lie between 0 and {}", text, id, kMaxTokens - 1));
    }
    end = std::max(end, id + 1);
  }
  texts_.resize(static_cast<size_t>(end));
  ids_.reserve(tokens.size());
  for (const auto& [text, id] : tokens) {
    auto& slot = texts_[static_cast<size_t>(id)];
    if (slot && *slot != text) {
      throw Error(ErrorCode::corrupt_data, fmt::format("tokenizer: tokens `{}` and `{}` share id {}", *slot, text, id));
    }
    if (slot) continue;
    slot = text;
    if (!ids_.try_emplace(*slot, static_cast<int32_t>(id)).second) {
      throw Error(ErrorCode::corrupt_data, fmt::format("tokenizer: token `{}` has two ids", text));
    }
  }
}

Vocabulary Vocabulary::in_order(std::vector<std::string> texts) {
  if (texts.size() > size_t{kMaxTokens}) {
    throw Error(ErrorCode::corrupt_data,
                fmt::format("tokenizer: {} tokens are too many; the limit is {}", texts.size(), kMaxTokens));
  }
  Vocabulary result;
  result.texts_.assign(std::move_iterator(texts.begin()), std::move_iterator(texts.end()));
  result.ids_.reserve(result.texts_.size());
  for (size_t id = 0; id < result.texts_.size(); ++id) {
    result.ids_.insert_or_assign(*result.texts_[id], static_cast<int32_t>(id));
  }
  return result;
}

std::optional<int32_t> Vocabulary::find(std::string_view text) const {
  const auto it = ids_.find(text);
  return it == ids_.end() ? std::nullopt : std::optional(it->second);
}

const std::string* Vocabulary::text(int32_t id) const {
  const auto index = static_cast<size_t>(id);
  return index < texts_.size() && texts_[index] ? &*texts_[index] : nullptr;
}

Trie Vocabulary::trie() const {
  std::vector<Trie::Entry> entries;
  for (const auto& [text, id] : ids_) {
    if (text.size() > kMaxWalk) {
      throw Error(ErrorCode::corrupt_data,
                  fmt::format("tokenizer: token {} has {} bytes; the limit is {}", id, text.size(), kMaxWalk));
    }
    entries.emplace_back(text, id);
  }
  return Trie(std::move(entries));
}

std::vector<int32_t> Vocabulary::byte_tokens() const {
  std::vector<int32_t> ids;
  for (int byte = 0; byte < 256; ++byte) ids.push_back(find(fmt::format("<0x{:02X}>", byte)).value_or(-1));
  return ids;
}

}  // namespace arc
