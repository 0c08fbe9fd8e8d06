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
      special_(std::move(parts.special)),
      vocab_size_(std::max(vocabulary_of(model_).size(), added_tokens_.size())) {}

// What one call of `encode` reuses from piece to piece.
struct Tokenizer::Scratch {
  BpeScratch bpe;
  UnigramScratch unigram;

  void encode(const Bpe& model, std::string_view piece, std::vector<int32_t>& ids) { model.encode(piece, bpe, ids); }
  void encode(const Unigram& model, std::string_view piece, std::vector<int32_t>& ids) {
    model.encode(piece, unigram, ids);
  }
  template <typename Words>
  void encode(const Words& model, std::string_view piece, std::vector<int32_t>& ids) {
    model.encode(piece, ids);
  }
};

std::vector<int32_t> Tokenizer::encode(std::string_view text, const EncodeOptions& options) const {
  if (text.size() > kMaxTextBytes) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("a text of {} bytes is too long to tokenize; the limit is {}", text.size(), kMaxTextBytes));
  }
  std::string valid;
  if (!is_valid_utf8(text)) text = valid = utf8_replace_invalid(text);
  const auto& [before, after] = post_processor_;
  std::vector<int32_t> ids;
  if (options.add_special_tokens) ids = before;
  const ByteRange all{0, text.size()};
  const bool all_plain = !options.parse_special || (!options.plain.empty() && !valid.empty());
  encode_text(text, all_plain ? std::span(&all, 1) : options.plain, ids);
  truncate(ids, options);
  if (options.add_special_tokens) ids.insert(ids.end(), after.begin(), after.end());
  return ids;
}

// `ids`: the special tokens before the text, and the text.
void Tokenizer::truncate(std::vector<int32_t>& ids, const EncodeOptions& options) const {
  const auto& [max_tokens, drop_first] = options.truncation;
  const size_t n_before = options.add_special_tokens ? post_processor_.before.size() : 0;
  const size_t n_special = options.add_special_tokens ? n_before + post_processor_.after.size() : 0;
  if (max_tokens < n_special) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("a limit of {} tokens leaves no room for the {} special tokens", max_tokens, n_special));
  }
  const size_t n_text = ids.size() - n_before, n_kept = std::min(n_text, max_tokens - n_special);
  const auto text = ids.begin() + static_cast<std::ptrdiff_t>(n_before);
  const auto n_dropped = static_cast<std::ptrdiff_t>(n_text - n_kept);
  const auto dropped = drop_first ? text : ids.end() - n_dropped;
  ids.erase(dropped, dropped + n_dropped);
}

void Tokenizer::encode_text(std::string_view text, std::span<const ByteRange> plain, std::vector<int32_t>& ids) const {
  Scratch scratch;
  for (const Segment& segment : added_tokens_.split_raw(text, plain)) {
    if (segment.token) {
      ids.push_back(*segment.token);
    } else {
      encode_segment(text.substr(segment.begin, segment.end - segment.begin), segment.begin == 0,
                     ranges_within(plain, segment.begin, segment.end), scratch, ids);
    }
  }
}

// `plain`: of this segment.
void Tokenizer::encode_segment(std::string_view text, bool at_start, ByteRanges plain, Scratch& scratch,
                               std::vector<int32_t>& ids) const {
  const std::string normal = normalizer_.apply(text, &plain);
  for (const Segment& segment : added_tokens_.split_normalized(normal, plain)) {
    if (segment.token) {
      ids.push_back(*segment.token);
      continue;
    }
    Pieces pieces{.at_start = at_start && segment.begin == 0};
    pieces.append(std::string_view(normal).substr(segment.begin, segment.end - segment.begin));
    pieces = pre_tokenizer_.apply(std::move(pieces));
    const auto encode_all = [&](const auto& model) {
      for (size_t i = 0; i < pieces.size(); ++i) scratch.encode(model, pieces[i], ids);
    };
    std::visit(encode_all, model_);
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
  return added != nullptr ? &added->content : vocabulary_of(model_).text(id);
}

std::optional<int32_t> Tokenizer::token_id(std::string_view text) const {
  const AddedToken* added = added_tokens_.find(text);
  return added != nullptr ? std::optional(added->id) : vocabulary_of(model_).find(text);
}

bool Tokenizer::is_special(int32_t id) const {
  const AddedToken* added = added_tokens_.find(id);
  return added != nullptr && added->special;
}

}  // namespace arc
