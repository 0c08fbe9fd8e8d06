// Text to token ids and back, as the `tokenizers` library does it: added tokens are cut out, the rest is normalised,
// cut into pieces, encoded by the model, and special tokens are put around it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer_parts.h"

namespace arc {

// Which tokens of a text stay when there are too many. Special tokens around it all stay.
struct Truncation {
  size_t max_tokens = SIZE_MAX;  // special tokens count
  bool drop_first = false;       // the text's first tokens go, not its last
};

struct EncodeOptions {
  bool add_special_tokens = true;  // BOS and the like, as the post-processor defines
  // Whether text that spells a special token becomes that token, as transformers does. False for text from strangers.
  // Added tokens that are not special are parsed either way.
  bool parse_special = true;
  std::span<const ByteRange> plain;  // parts of the text that are never parsed so, nor what touches them
  Truncation truncation;
};

// Thread-safe once loaded. Movable, not copyable.
class Tokenizer {
 public:
  explicit Tokenizer(TokenizerParts parts);

  // A whole tokenizer.json. Throws Error(corrupt_data, unsupported) that names the section and the field.
  static Tokenizer from_json(std::string_view text);

  // Invalid UTF-8 counts as U+FFFD. Text may have up to 1 GiB; time is near-linear in it. The sections `truncation` and
  // `padding` of a file do nothing, as in transformers' `encode`. Throws Error(invalid_argument, resource): also when
  // max_tokens leaves no room for the special tokens.
  std::vector<int32_t> encode(std::string_view text, const EncodeOptions& options = {}) const;

  // Ids without a token give no text. The same text as a Detokenizer gives.
  std::string decode(std::span<const int32_t> ids, bool skip_special = true) const;

  // The bytes that a token stands for, wherever it stands; they need not be UTF-8. Empty for ids without a token.
  std::string token_bytes(int32_t id) const;
  // The token as the file spells it ("Ġthe", "▁the", "<0x0A>"); null for ids without a token.
  const std::string* token_text(int32_t id) const;
  std::optional<int32_t> token_id(std::string_view text) const;
  bool is_special(int32_t id) const;

  int32_t vocab_size() const { return vocab_size_; }  // largest id + 1; models may have padded rows beyond
  const SpecialTokens& special() const { return special_; }
  void set_special(SpecialTokens special) { special_ = std::move(special); }
  const Decoder& decoder() const { return decoder_; }

 private:
  struct Scratch;

  void truncate(std::vector<int32_t>& ids, const EncodeOptions& options) const;
  void encode_text(std::string_view text, std::span<const ByteRange> plain, std::vector<int32_t>& ids) const;
  void encode_segment(std::string_view text, bool at_start, ByteRanges plain, Scratch& scratch,
                      std::vector<int32_t>& ids) const;

  Normalizer normalizer_;
  AddedTokens added_tokens_;
  PreTokenizer pre_tokenizer_;
  Model model_;
  PostProcessor post_processor_;
  Decoder decoder_;
  SpecialTokens special_;
  int32_t vocab_size_ = 0;
};

// The tokenizer of a model folder: tokenizer.json, else tekken.json, a SentencePiece model or a tiktoken file; with the
// tokens of tokenizer_config.json and special_tokens_map.json, and the stop tokens of generation_config.json (or else
// config.json) beside it. Throws Error(not_found) that lists the names looked for, and as from_json.
Tokenizer load_tokenizer(const std::filesystem::path& folder);

}  // namespace arc
