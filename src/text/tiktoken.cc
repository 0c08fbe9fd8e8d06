#include "text/tiktoken.h"

#include <algorithm>
#include <charconv>
#include <span>
#include <string>
#include <utility>

#include "fmt/format.h"
#include "fmt/ranges.h"

#include "base/error.h"
#include "text/base64.h"
#include "text/byte_level.h"
#include "text/cut_patterns.h"

namespace arc {
namespace {

constexpr size_t kMaxFileBytes = size_t{64} << 20;
constexpr size_t kMaxTokenBytes = 1024;

// Special tokens behind the ranks, of models whose code has them and not their files; "{}" counts up from `fill_from`.
constexpr std::string_view kLlama3Specials[] = {"<|begin_of_text|>",
                                                "<|end_of_text|>",
                                                "<|reserved_special_token_0|>",
                                                "<|reserved_special_token_1|>",
                                                "<|finetune_right_pad_id|>",
                                                "<|reserved_special_token_2|>",
                                                "<|start_header_id|>",
                                                "<|end_header_id|>",
                                                "<|eom_id|>",
                                                "<|eot_id|>",
                                                "<|python_tag|>"};
constexpr std::string_view kQwenSpecials[] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
constexpr std::string_view kBeginOfText[] = {"<|begin_of_text|>"}, kGlmPrefix[] = {"[gMASK]", "<sop>"};

struct Family {
  std::string_view stem, tokenizer_class, pattern;
  bool nfc = false;                            // text is brought to this normal form first
  std::span<const std::string_view> before;    // tokens that encoding adds in front
  std::span<const std::string_view> specials;  // the first; empty: the file's folder must name them
  std::string_view filler, eos;                // what the others are called, by number; which ends a text
  size_t n_specials = 0, fill_from = 0;        // in all; the first number
};
constexpr Family kFamilies[] = {
    {.stem = "tokenizer",
     .tokenizer_class = "PreTrainedTokenizerFast",
     .pattern = kLlama3Cut,
     .before = kBeginOfText,
     .specials = kLlama3Specials,
     .filler = "<|reserved_special_token_{}|>",
     .eos = "<|end_of_text|>",
     .n_specials = 256,
     .fill_from = 3},
    {.stem = "qwen",
     .tokenizer_class = "QWenTokenizer",
     .pattern = kQwen2Cut,
     .nfc = true,
     .specials = kQwenSpecials,
     .filler = "<|extra_{}|>",
     .eos = "<|endoftext|>",
     .n_specials = 208},
    {.stem = "tiktoken", .tokenizer_class = "TikTokenTokenizer", .pattern = kKimiCut},
    {.stem = "glm4", .tokenizer_class = "ChatGLM4Tokenizer", .pattern = kLlama3Cut, .before = kGlmPrefix},
};

const Family& find_family(std::string_view name) {
  const auto* found = std::ranges::find_if(
      kFamilies, [&](const Family& family) { return name == family.stem || name == family.tokenizer_class; });
  if (found != std::end(kFamilies)) return *found;
  std::vector<std::string_view> known;
  for (const Family& family : kFamilies) known.push_back(family.tokenizer_class);
  throw Error(ErrorCode::unsupported,
              fmt::format("a tiktoken file does not say how its model cuts text, and `{}` is not known (known are {}); "
                          "save the model's tokenizer as tokenizer.json instead",
                          name, fmt::join(known, ", ")));
}

std::vector<AddedToken> own_specials(const Family& family, size_t n_ranks) {
  if (family.n_specials == 0) {
    throw Error(
        ErrorCode::not_found,
        fmt::format("tokenizer_config.json has no `added_tokens_decoder`, which names the special tokens of a {}",
                    family.tokenizer_class));
  }
  std::vector<AddedToken> tokens;
  for (size_t i = 0; i < family.n_specials; ++i) {
    const size_t n_named = family.specials.size();
    tokens.push_back({.id = static_cast<int32_t>(n_ranks + i),
                      .content = i < n_named ? std::string(family.specials[i])
                                             : fmt::format(fmt::runtime(family.filler), i - n_named + family.fill_from),
                      .special = true});
  }
  return tokens;
}

std::vector<TokenEntry> parse_ranks(std::string_view file) {
  if (file.size() > kMaxFileBytes) {
    throw Error(ErrorCode::corrupt_data,
                fmt::format("tiktoken file: has {} bytes; the limit is {}", file.size(), kMaxFileBytes));
  }
  std::vector<TokenEntry> tokens;
  for (size_t n_line = 1; !file.empty(); ++n_line) {
    std::string_view line = file.substr(0, file.find('\n'));
    file.remove_prefix(std::min(line.size() + 1, file.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty()) continue;
    const size_t space = std::min(line.find(' '), line.size() - 1);
    auto bytes = base64_decode(line.substr(0, space));
    int64_t rank = -1;
    const char* end = line.data() + line.size();
    const auto [stop, error] = std::from_chars(line.data() + space + 1, end, rank);
    if (!bytes || error != std::errc() || stop != end) {
      throw Error(ErrorCode::corrupt_data,
                  fmt::format("tiktoken file: line {} is not a token in base64, a space and a rank", n_line));
    }
    tokens.emplace_back(std::move(*bytes), rank);
  }
  return tokens;
}

void check_token(std::string_view bytes, int64_t rank) {
  const auto fail = [rank](std::string_view what) {
    throw Error(ErrorCode::corrupt_data, fmt::format("tokenizer: the token of rank {} {}", rank, what));
  };
  if (rank < 0 || rank >= kMaxTokens) fail(fmt::format("is not between 0 and {}", kMaxTokens - 1));
  if (bytes.empty()) fail("is empty");
  if (bytes.size() > kMaxTokenBytes) fail(fmt::format("has {} bytes; the limit is {}", bytes.size(), kMaxTokenBytes));
}

}  // namespace

TokenizerParts read_tiktoken(std::string_view file, std::string_view family_name, std::vector<AddedToken> added) {
  const Family& family = find_family(family_name);
  const std::vector<TokenEntry> tokens = parse_ranks(file);
  if (added.empty()) added = own_specials(family, tokens.size());
  TokenizerParts parts = tokenizer_of_ranks(tokens, 0, family.pattern, std::move(added));
  const auto id_of = [&](std::string_view name) -> std::optional<int32_t> {
    const auto found = std::ranges::find(parts.added_tokens, name, &AddedToken::content);
    return found == parts.added_tokens.end() ? std::nullopt : std::optional(found->id);
  };
  if (family.nfc) parts.normalizer.steps.emplace_back(UnicodeForm::nfc);
  for (const std::string_view name : family.before) {
    if (const auto id = id_of(name)) parts.post_processor.before.push_back(*id);
  }
  if (family.before.size() == 1) parts.special.bos = id_of(family.before[0]);
  parts.special.eos = id_of(family.eos);
  return parts;
}

TokenizerParts tokenizer_of_ranks(const std::vector<TokenEntry>& tokens, int32_t first_id, std::string_view pattern,
                                  std::vector<AddedToken> added) {
  std::vector<TokenEntry> entries;
  for (const auto& [bytes, rank] : tokens) {
    check_token(bytes, rank);
    byte_level_encode(bytes, entries.emplace_back("", rank + first_id).first);
  }
  Vocabulary vocabulary(entries);
  for (int byte = 0; byte < 256; ++byte) {
    std::string character;
    byte_level_encode(std::string(1, static_cast<char>(byte)), character);
    if (vocabulary.find(character)) continue;
    throw Error(ErrorCode::corrupt_data, fmt::format("tokenizer: no token for the single byte 0x{:02x}", byte));
  }
  std::vector<uint32_t> ranks(static_cast<size_t>(vocabulary.size()), Bpe::kNoRank);
  for (const auto& [text, id] : entries) ranks[static_cast<size_t>(id)] = static_cast<uint32_t>(id);
  PreTokenizer pre_tokenizer;
  pre_tokenizer.steps.emplace_back(SplitStep{Regex(pattern, RegexDialect::rust)});
  pre_tokenizer.steps.emplace_back(ByteLevelStep{});
  return {.added_tokens = std::move(added),
          .normalizer = {},
          .pre_tokenizer = std::move(pre_tokenizer),
          .model = Bpe(std::move(vocabulary), ranks, {}, {.ignore_merges = true}),
          .post_processor = {},
          .decoder = Decoder({DecodeByteLevel{}}),
          .special = {}};
}

}  // namespace arc
