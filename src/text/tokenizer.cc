#include "text/tokenizer.h"

#include <algorithm>

#include "fmt/format.h"

#include "base/error.h"
#include "base/utf8.h"
#include "text/detokenizer.h"

namespace arc {
namespace {

constexpr size_t kMaxTextBytes = size_t{1} << 30;  // positions inside are 32-bit

}  // namespace

Tokenizer::Tokenizer(TokenizerParts parts)
    : normalizer_(std::move(parts.normalizer)),
      added_tokens_(std::move(parts.added_tokens), normalizer_),
      pre_tokenizer_(std::move(parts.pre_tokenizer)),
      model_(std::move(parts.model)),
      post_processor_(std::move(parts.post_processor)),
      decoder_(std::move(parts.decoder)),
      vocab_size_(std::max(model_.vocabulary().size(), added_tokens_.size())) {}

std::vector<int32_t> Tokenizer::encode(std::string_view text, const EncodeOptions& options) const {
  if (text.size() > kMaxTextBytes) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("a text of {} bytes is too long to tokenize; the limit is {}", text.size(), kMaxTextBytes));
  }
  std::string valid;
  if (!is_valid_utf8(text)) text = valid = utf8_replace_invalid(text);
  BpeScratch scratch;
  std::vector<int32_t> ids;
  if (options.add_special_tokens) ids = post_processor_.before;
  for (const Segment& segment : added_tokens_.split_raw(text, options.parse_special)) {
    if (segment.token) {
      ids.push_back(*segment.token);
    } else {
      encode_segment(text.substr(segment.begin, segment.end - segment.begin), segment.begin == 0, options.parse_special,
                     scratch, ids);
    }
  }
  if (options.add_special_tokens) {
    ids.insert(ids.end(), post_processor_.after.begin(), post_processor_.after.end());
  }
  return ids;
}

void Tokenizer::encode_segment(std::string_view text, bool at_start, bool parse_special, BpeScratch& scratch,
                               std::vector<int32_t>& ids) const {
  const std::string normal = normalizer_.apply(text);
  for (const Segment& segment : added_tokens_.split_normalized(normal, parse_special)) {
    if (segment.token) {
      ids.push_back(*segment.token);
      continue;
    }
    Pieces pieces{.at_start = at_start && segment.begin == 0};
    pieces.append(std::string_view(normal).substr(segment.begin, segment.end - segment.begin));
    pieces = pre_tokenizer_.apply(std::move(pieces));
    for (size_t i = 0; i < pieces.size(); ++i) model_.encode(pieces[i], scratch, ids);
  }
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool skip_special) const {
  Detokenizer detokenizer(*this, skip_special);
  std::string text;
  for (const int32_t id : ids) text += detokenizer.push(id);
  return text + detokenizer.finish();
}

std::string Tokenizer::token_bytes(int32_t id) const {
  const std::string* text = token_text(id);
  return text == nullptr ? std::string() : decoder_.token_bytes(*text);
}

const std::string* Tokenizer::token_text(int32_t id) const {
  const AddedToken* added = added_tokens_.find(id);
  return added != nullptr ? &added->content : model_.vocabulary().text(id);
}

std::optional<int32_t> Tokenizer::token_id(std::string_view text) const {
  const AddedToken* added = added_tokens_.find(text);
  return added != nullptr ? std::optional(added->id) : model_.vocabulary().find(text);
}

bool Tokenizer::is_special(int32_t id) const {
  const AddedToken* added = added_tokens_.find(id);
  return added != nullptr && added->special;
}

}  // namespace arc
