#include "text/vocabulary.h"

#include <algorithm>

#include "fmt/format.h"

#include "base/error.h"

namespace arc {

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

std::optional<int32_t> Vocabulary::find(std::string_view text) const {
  const auto it = ids_.find(text);
  return it == ids_.end() ? std::nullopt : std::optional(it->second);
}

const std::string* Vocabulary::text(int32_t id) const {
  const auto index = static_cast<size_t>(id);
  return index < texts_.size() && texts_[index] ? &*texts_[index] : nullptr;
}

}  // namespace arc
