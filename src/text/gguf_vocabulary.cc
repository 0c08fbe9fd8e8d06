#include "text/gguf_vocabulary.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "fmt/format.h"

#include "base/error.h"
#include "base/utf8.h"
#include "text/cut_patterns.h"
#include "text/sentencepiece.h"
#include "text/unicode.h"

namespace arc {
namespace {

using Type = GgufVocabulary::Type;

constexpr std::string_view kMark = "\u2581";  // in front of a token that begins a word
constexpr size_t kMaxTokenBytes = 1024;

[[noreturn]] void fail(std::string_view key, std::string_view what) {
  throw Error(ErrorCode::corrupt_data, fmt::format("tokenizer.ggml.{} {}", key, what));
}

Type type_of(const GgufVocabulary& file, size_t id) {
  const int64_t type = file.token_type.empty() ? 1 : file.token_type[id];
  return type >= 1 && type <= 6 ? static_cast<Type>(type) : Type::normal;
}

void check(const GgufVocabulary& file) {
  const size_t n = file.tokens.size();
  if (n == 0 || n > size_t{kMaxTokens}) fail("tokens", fmt::format("are {}; a vocabulary has 1 to {}", n, kMaxTokens));
  if (!file.token_type.empty() && file.token_type.size() != n) fail("token_type", "has not as many entries as tokens");
  if (!file.scores.empty() && file.scores.size() != n) fail("scores", "has not as many entries as tokens");
  for (size_t id = 0; id < n; ++id) {
    const std::string& text = file.tokens[id];
    if (text.size() > kMaxTokenBytes) fail("tokens", fmt::format("has {} bytes under id {}", text.size(), id));
    if (!is_valid_utf8(text)) fail("tokens", fmt::format("is not valid UTF-8 under id {}", id));
  }
}

std::optional<int32_t> id_of(const GgufVocabulary& file, const std::optional<int64_t>& id) {
  const bool exists = id && *id >= 0 && *id < static_cast<int64_t>(file.tokens.size());
  return exists ? std::optional(static_cast<int32_t>(*id)) : std::nullopt;
}
std::optional<int32_t> id_or(const GgufVocabulary& file, const std::optional<int64_t>& id, int64_t fallback) {
  return id_of(file, id.value_or(fallback));
}

// Control tokens are special. Those of users are found in text too, with their spaces as text has them.
std::vector<AddedToken> added_tokens(const GgufVocabulary& file) {
  std::vector<AddedToken> tokens;
  for (size_t id = 0; id < file.tokens.size(); ++id) {
    const Type type = type_of(file, id);
    const bool special = type == Type::control || type == Type::unknown;
    if (file.tokens[id].empty() || !(special || type == Type::user_defined)) continue;
    std::string content = special ? file.tokens[id] : replace_matches(std::string(kMark), file.tokens[id], " ");
    tokens.push_back({.id = static_cast<int32_t>(id), .content = std::move(content), .special = special});
  }
  return tokens;
}

// Special tokens around a text, where the file or else the kind of tokenizer asks for them.
PostProcessor around(const GgufVocabulary& file, const SpecialTokens& special, bool bos, bool eos, bool sep) {
  PostProcessor around;
  if (file.add_bos_token.value_or(bos) && special.bos) around.before.push_back(*special.bos);
  if (file.add_eos_token.value_or(eos) && special.eos) around.after.push_back(*special.eos);
  const auto separator = id_or(file, file.seperator_token_id, file.model == "bert" ? 102 : -1);
  if (file.add_sep_token.value_or(sep) && separator) around.after.push_back(*separator);
  return around;
}

// Ids that each model of tokenizer has where a file is silent.
struct DefaultIds {
  int64_t bos = -1, eos = -1, unk = -1, pad = -1;
};

SpecialTokens special_tokens(const GgufVocabulary& file, const DefaultIds& defaults) {
  SpecialTokens special{.bos = id_or(file, file.bos_token_id, defaults.bos),
                        .eos = id_or(file, file.eos_token_id, defaults.eos),
                        .pad = id_or(file, file.padding_token_id, defaults.pad),
                        .unk = id_or(file, file.unknown_token_id, defaults.unk),
                        .stop = {}};
  for (const auto& id : {special.eos, id_of(file, file.eot_token_id), id_of(file, file.eom_token_id)}) {
    if (id) special.stop.push_back(*id);
  }
  // Files do not always name what ends a turn; where one of these is a control token, it does.
  constexpr std::string_view kTurnEnds[] = {"<|eot_id|>", "<|eom_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>"};
  for (size_t id = 0; id < file.tokens.size(); ++id) {
    if (type_of(file, id) == Type::control && std::ranges::find(kTurnEnds, file.tokens[id]) != std::end(kTurnEnds)) {
      special.stop.push_back(static_cast<int32_t>(id));
    }
  }
  std::ranges::sort(special.stop);
  special.stop.erase(std::ranges::unique(special.stop).begin(), special.stop.end());
  return special;
}

// ---- gpt2: byte-level BPE ------------------------------------------------------------------------------------------

TokenizerParts byte_level_bpe(const GgufVocabulary& file) {
  GgufPre pre = gguf_pre(file.pre);
  std::vector<TokenEntry> entries;
  for (size_t id = 0; id < file.tokens.size(); ++id) {
    const bool used = type_of(file, id) != Type::unused && !file.tokens[id].empty();
    if (used) entries.emplace_back(file.tokens[id], static_cast<int64_t>(id));
  }
  std::vector<MergeEntry> merges;
  for (const std::string& merge : file.merges) {
    const size_t space = merge.find(' ', 1);
    if (space == merge.npos) fail("merges", "has an entry that is not two texts with a space between");
    merges.emplace_back(merge.substr(0, space), merge.substr(space + 1));
  }
  const SpecialTokens special = special_tokens(file, {});
  Normalizer normalizer;
  if (pre.nfc) normalizer.steps.emplace_back(UnicodeForm::nfc);
  return {.added_tokens = added_tokens(file),
          .normalizer = std::move(normalizer),
          .pre_tokenizer = std::move(pre.pre_tokenizer),
          .model = Bpe(Vocabulary(entries), merges, {.ignore_merges = pre.ignore_merges}),
          .post_processor = around(file, special, pre.add_bos, false, pre.add_sep),
          .decoder = Decoder({DecodeByteLevel{}}),
          .special = special};
}

// ---- llama and t5: SentencePiece's BPE and Unigram -----------------------------------------------------------------

// Tokens of users are added ones here: the format's converters put those of tokenizer.json among the pieces.
SentencePieceModel model_of_pieces(const GgufVocabulary& file, const SpecialTokens& special) {
  using Piece = SentencePieceModel::Type;
  const bool is_bpe = file.model == "llama";
  SentencePieceModel model{
      .algorithm = is_bpe ? SentencePieceModel::Algorithm::bpe : SentencePieceModel::Algorithm::unigram,
      .bos_id = special.bos.value_or(-1),
      .eos_id = special.eos.value_or(-1),
      .charsmap = file.precompiled_charsmap,
      .add_dummy_prefix = file.add_space_prefix.value_or(true),
      .remove_extra_whitespaces = file.remove_extra_whitespaces.value_or(!is_bpe)};
  for (size_t id = 0; id < file.tokens.size(); ++id) {
    const Type type = type_of(file, id);
    const bool stays = type == Type::normal || type == Type::byte;
    model.pieces.push_back({.text = file.tokens[id].empty() ? fmt::format("[EMPTY_{}]", id) : file.tokens[id],
                            .score = file.scores.empty() ? 0.0F : static_cast<float>(file.scores[id]),
                            .type = stays ? static_cast<Piece>(type) : Piece::control});
    model.byte_fallback = model.byte_fallback || type == Type::byte;
  }
  model.pieces[static_cast<size_t>(special.unk.value_or(0))].type = Piece::unknown;
  check_sentencepiece(model, "tokenizer.ggml.tokens");
  return model;
}

TokenizerParts sentencepiece(const GgufVocabulary& file) {
  const bool is_bpe = file.model == "llama";
  const DefaultIds defaults =
      is_bpe ? DefaultIds{.bos = 1, .eos = 2, .unk = 0} : DefaultIds{.eos = 1, .unk = 2, .pad = 0};
  const SpecialTokens special = special_tokens(file, defaults);
  TokenizerParts parts = tokenizer_of_pieces(model_of_pieces(file, special), {});
  parts.added_tokens = added_tokens(file);
  parts.post_processor = around(file, special, is_bpe, !is_bpe, false);
  parts.special = special;
  return parts;
}

// ---- bert: WordPiece -----------------------------------------------------------------------------------------------

// The file marks tokens that begin a word; the library's vocabulary marks those that do not.
std::string wordpiece_text(const GgufVocabulary& file, size_t id) {
  const std::string& text = file.tokens[id];
  if (type_of(file, id) != Type::normal || (text.starts_with('[') && text.ends_with(']'))) return text;
  return text.starts_with(kMark) ? text.substr(kMark.size()) : "##" + text;
}

TokenizerParts wordpiece(const GgufVocabulary& file) {
  std::vector<std::string> texts;
  for (size_t id = 0; id < file.tokens.size(); ++id) texts.push_back(wordpiece_text(file, id));
  const SpecialTokens special = special_tokens(file, {.bos = 101, .unk = 100, .pad = 0});
  const std::string unk_token = special.unk ? texts[static_cast<size_t>(*special.unk)] : "[UNK]";
  Normalizer normalizer;
  normalizer.steps.emplace_back(
      BertCleaning{.strip_accents = file.strip_accents.value_or(file.lowercase), .lowercase = file.lowercase});
  PreTokenizer pre_tokenizer;
  pre_tokenizer.steps.emplace_back(SplitStep{CharTest(is_unicode_space), SplitBehavior::removed});
  pre_tokenizer.steps.emplace_back(SplitStep{CharTest(is_unicode_punctuation), SplitBehavior::isolated});
  return {.added_tokens = added_tokens(file),
          .normalizer = std::move(normalizer),
          .pre_tokenizer = std::move(pre_tokenizer),
          .model = WordPiece(Vocabulary::in_order(std::move(texts)), {.unk_token = unk_token}),
          .post_processor = around(file, special, true, false, true),
          .decoder = Decoder({DecodeWordPiece{}}),
          .special = special};
}

TokenizerParts parts_of(const GgufVocabulary& file) {
  if (file.model == "gpt2") return byte_level_bpe(file);
  if (file.model == "llama" || file.model == "t5") return sentencepiece(file);
  if (file.model == "bert") return wordpiece(file);
  throw Error(ErrorCode::unsupported,
              fmt::format("tokenizer.ggml.model is \"{}\"; Arc knows gpt2, llama, bert and t5", file.model));
}

}  // namespace

TokenizerParts tokenizer_of_gguf(const GgufVocabulary& file) {
  check(file);
  TokenizerParts parts = parts_of(file);
  if (!file.strips_after_added) return parts;
  const auto keeps = [&](const AddedToken& token) {
    return token.id == parts.special.unk || token.id == parts.special.bos || token.id == parts.special.eos;
  };
  for (AddedToken& token : parts.added_tokens) token.rstrip = !keeps(token);
  return parts;
}

}  // namespace arc
