#include "text/sentencepiece.h"

#include <algorithm>
#include <functional>
#include <limits>

#include "fmt/format.h"

#include "base/error.h"
#include "base/utf8.h"
#include "text/tokenizer_parts.h"

namespace arc {
namespace {

using Type = SentencePieceModel::Type;

constexpr std::string_view kMark = "\u2581";
constexpr size_t kMaxTextBytes = size_t{1} << 30;

std::vector<int32_t> ids_of(const SentencePieceModel& model, Type type) {
  std::vector<int32_t> ids;
  for (size_t id = 0; id < model.pieces.size(); ++id) {
    if (model.pieces[id].type == type) ids.push_back(static_cast<int32_t>(id));
  }
  return ids;
}

std::vector<std::string> texts_of(const SentencePieceModel& model) {
  std::vector<std::string> texts;
  for (const auto& piece : model.pieces) texts.push_back(piece.text);
  return texts;
}

const std::string& unknown_piece(const SentencePieceModel& model) {
  return model.pieces[static_cast<size_t>(ids_of(model, Type::unknown).front())].text;
}

// The highest score merges first; equal scores are one rank, of which the leftmost pair merges first.
std::vector<uint32_t> ranks_of(const SentencePieceModel& model) {
  std::vector<float> scores;
  for (const auto& piece : model.pieces) {
    if (piece.type == Type::normal) scores.push_back(piece.score);
  }
  std::ranges::sort(scores, std::greater());
  const auto end = std::unique(scores.begin(), scores.end());
  std::vector<uint32_t> ranks;
  for (const auto& piece : model.pieces) {
    const auto place = std::lower_bound(scores.begin(), end, piece.score, std::greater()) - scores.begin();
    ranks.push_back(piece.type == Type::normal ? static_cast<uint32_t>(place) : Bpe::kNoRank);
  }
  return ranks;
}

Bpe make_bpe(const SentencePieceModel& model) {
  if (!ids_of(model, Type::unused).empty()) {
    throw Error(ErrorCode::unsupported,
                "SentencePiece model: BPE with unused pieces is not supported; save the model's "
                "tokenizer as tokenizer.json instead");
  }
  return {Vocabulary::in_order(texts_of(model)),
          ranks_of(model),
          ids_of(model, Type::user_defined),
          {.unk_token = unknown_piece(model), .fuse_unk = true, .byte_fallback = model.byte_fallback}};
}

// A user-defined piece scores a tenth for each of its bytes but the first (SentencePiece 0.2.3); log probabilities are
// below zero, so it mostly wins over whatever else covers its bytes.
Unigram make_unigram(const SentencePieceModel& model) {
  constexpr float kUnknownPenalty = 10;
  constexpr double kUserBonus = 0.1, kNone = std::numeric_limits<double>::quiet_NaN();
  float worst = std::numeric_limits<float>::max();
  std::vector<ScoredToken> tokens;
  for (const auto& [text, score, type] : model.pieces) {
    if (type == Type::normal) worst = std::min(worst, score);
    const double bonus = static_cast<float>(kUserBonus * static_cast<double>(text.size() - 1));
    tokens.emplace_back(text, type == Type::normal ? score : type == Type::user_defined ? bonus : kNone);
  }
  return {tokens,
          {.unk_id = ids_of(model, Type::unknown).front(),
           .byte_fallback = model.byte_fallback,
           .unk_score = worst - kUnknownPenalty,
           .as_sentencepiece = true}};
}

Model make_model(const SentencePieceModel& model) {
  switch (model.algorithm) {
    case SentencePieceModel::Algorithm::bpe:
      return make_bpe(model);
    case SentencePieceModel::Algorithm::unigram:
      return make_unigram(model);
    default:
      throw Error(ErrorCode::unsupported,
                  "SentencePiece model: models of words or characters are not supported; BPE and Unigram are");
  }
}

std::vector<AddedToken> special_pieces(const SentencePieceModel& model) {
  std::vector<AddedToken> tokens;
  for (const Type type : {Type::control, Type::unknown}) {
    for (const int32_t id : ids_of(model, type)) {
      tokens.push_back({.id = id, .content = model.pieces[static_cast<size_t>(id)].text, .special = true});
    }
  }
  return tokens;
}

std::optional<int32_t> token_of(const SentencePieceModel& model, int64_t id) {
  const bool exists = id >= 0 && static_cast<size_t>(id) < model.pieces.size() &&
                      model.pieces[static_cast<size_t>(id)].type == Type::control;
  return exists ? std::optional(static_cast<int32_t>(id)) : std::nullopt;
}

Decoder make_decoder(const SentencePieceModel& model) {
  const DecodeReplace spaces{std::string(kMark), " "};
  if (!model.add_dummy_prefix && !model.remove_extra_whitespaces) return Decoder({spaces, DecodeByteTokens{}});
  const DropLeadingMark first{.mark = std::string(kMark), .each = model.remove_extra_whitespaces};
  return Decoder({first, spaces, DecodeByteTokens{}});
}

}  // namespace

SentencePieceNormalizer::SentencePieceNormalizer(const SentencePieceModel& model)
    : map_(model.charsmap),
      space_(model.escape_whitespaces ? kMark : " "),
      add_dummy_prefix_(model.add_dummy_prefix),
      remove_extra_whitespaces_(model.remove_extra_whitespaces),
      whitespace_as_suffix_(model.whitespace_as_suffix) {
  std::vector<Trie::Entry> entries;
  for (const auto& piece : model.pieces) {
    if (piece.type == Type::user_defined) entries.emplace_back(piece.text, 0);
  }
  user_defined_ = Trie(std::move(entries));
}

// The next user-defined piece, rule or character.
SentencePieceNormalizer::Rewritten SentencePieceNormalizer::first(std::string_view text) const {
  if (const size_t size = user_defined_.longest(text).size; size > 0) return {size, text.substr(0, size)};
  if (const auto match = map_.longest(text)) return {match->size, match->replacement};
  size_t size = 0;
  utf8_decode(text, size);
  return {size, text.substr(0, size)};
}

std::string SentencePieceNormalizer::apply(std::string_view text) const {
  std::string out;
  bool after_space = remove_extra_whitespaces_;  // more spaces vanish
  while (after_space && !text.empty()) {
    const auto [size, result] = first(text);
    if (result != " ") break;
    text.remove_prefix(size);
  }
  if (text.empty()) return out;
  if (add_dummy_prefix_ && !whitespace_as_suffix_) out += space_;
  while (!text.empty()) {
    auto [size, result] = first(text);
    while (after_space && result.starts_with(' ')) result.remove_prefix(1);
    for (const char byte : result) byte == ' ' ? void(out += space_) : out.push_back(byte);
    if (!result.empty()) after_space = remove_extra_whitespaces_ && result.ends_with(' ');
    if (out.size() > kMaxTextBytes) throw Error(ErrorCode::invalid_argument, "a text is too long to tokenize");
    text.remove_prefix(size);
  }
  while (remove_extra_whitespaces_ && out.ends_with(space_)) out.resize(out.size() - space_.size());
  if (add_dummy_prefix_ && whitespace_as_suffix_) out += space_;
  return out;
}

TokenizerParts tokenizer_of_pieces(const SentencePieceModel& model, const SentencePieceOptions& options) {
  const auto bos = token_of(model, model.bos_id), eos = token_of(model, model.eos_id);
  SentencePieceModel form = model;
  const bool first_only = options.prefix_first_only && model.add_dummy_prefix && model.escape_whitespaces;
  if (first_only) form.add_dummy_prefix = form.escape_whitespaces = false;
  Normalizer normalizer;
  normalizer.steps.emplace_back(SentencePieceStep{std::make_shared<const SentencePieceNormalizer>(form)});
  PreTokenizer pre_tokenizer;
  if (first_only) pre_tokenizer.steps.emplace_back(MetaspaceStep{std::string(kMark), MetaspaceStep::Prepend::first});
  PostProcessor post_processor;
  if (options.add_bos && bos) post_processor.before = {*bos};
  if (options.add_eos && eos) post_processor.after = {*eos};
  SpecialTokens special{.bos = bos,
                        .eos = eos,
                        .pad = token_of(model, model.pad_id),
                        .unk = ids_of(model, Type::unknown).front(),
                        .stop = {}};
  if (eos) special.stop = {*eos};
  return {.added_tokens = special_pieces(model),
          .normalizer = std::move(normalizer),
          .pre_tokenizer = std::move(pre_tokenizer),
          .model = make_model(model),
          .post_processor = std::move(post_processor),
          .decoder = make_decoder(model),
          .special = std::move(special)};
}

}  // namespace arc
