#include "text/tiktoken.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "fmt/format.h"
#include "fmt/ranges.h"

#include "base/error.h"
#include "text/byte_level.h"

namespace arc {
namespace {

constexpr size_t kMaxFileBytes = size_t{64} << 20;
constexpr size_t kMaxTokenBytes = 1024;

// Where words, numbers and spaces end, by encoding.
constexpr std::string_view kGpt2 = R"('(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s)";
constexpr std::string_view kCl100k =
    R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s)";
constexpr std::string_view kO200k =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"(\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kKimi =
    R"([\p{Han}]+|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"(\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

struct Family {
  std::string_view name, pattern;
};
constexpr std::array<Family, 16> kFamilies = {{
    {"gpt2", kGpt2},
    {"r50k_base", kGpt2},
    {"p50k_base", kGpt2},
    {"cl100k_base", kCl100k},
    {"o200k_base", kO200k},
    {"llama3", kLlama3},
    {"qwen", kQwen},
    {"hy", kQwen},
    {"kimi", kKimi},
    {"glm4", kLlama3},
    {"QWenTokenizer", kQwen},
    {"HYTokenizer", kQwen},
    {"TikTokenTokenizer", kKimi},
    {"ChatGLM4Tokenizer", kLlama3},
    {"LlamaTokenizer", kLlama3},
    {"PreTrainedTokenizerFast", kLlama3},  // what Llama 3's folders say
}};

int base64_digit(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  return c == '+' ? 62 : c == '/' ? 63 : -1;
}

void check_token(std::string_view bytes, int64_t rank) {
  if (bytes.empty())
    throw Error(ErrorCode::corrupt_data, fmt::format("tokenizer: the token of rank {} is empty", rank));
  if (bytes.size() <= kMaxTokenBytes) return;
  throw Error(ErrorCode::corrupt_data, fmt::format("tokenizer: the token of rank {} has {} bytes; the limit is {}",
                                                   rank, bytes.size(), kMaxTokenBytes));
}

}  // namespace

std::string tiktoken_pattern_names() {
  std::vector<std::string_view> names;
  for (const Family& family : kFamilies) names.push_back(family.name);
  return fmt::format("{}", fmt::join(names, ", "));
}

std::string_view tiktoken_pattern(std::string_view family) {
  const auto* found = std::ranges::find(kFamilies, family, &Family::name);
  if (found != kFamilies.end()) return found->pattern;
  throw Error(ErrorCode::unsupported,
              fmt::format("a tiktoken file does not say how its model cuts text, and `{}` is not known (known are {}); "
                          "save the model's tokenizer as tokenizer.json instead",
                          family, tiktoken_pattern_names()));
}

bool base64_decode(std::string_view text, std::string& out) {
  const size_t size_before = out.size();
  const size_t n_padding = text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0;
  bool valid = text.size() % 4 == 0;
  uint32_t bits = 0;
  for (size_t i = 0; i < text.size() - n_padding; ++i) {
    const int digit = base64_digit(text[i]);
    valid = valid && digit >= 0;
    bits = bits << 6 | static_cast<uint32_t>(digit & 63);
    if (i % 4 > 0) out.push_back(static_cast<char>(bits >> (6 - 2 * (i % 4))));
  }
  if (!valid) out.resize(size_before);
  return valid;
}

std::vector<TokenEntry> parse_tiktoken(std::string_view file) {
  if (file.size() > kMaxFileBytes) {
    throw Error(ErrorCode::corrupt_data,
                fmt::format("tiktoken file: has {} bytes; the limit is {}", file.size(), kMaxFileBytes));
  }
  std::vector<TokenEntry> tokens;
  size_t n_line = 0;
  while (!file.empty()) {
    ++n_line;
    std::string_view line = file.substr(0, file.find('\n'));
    file.remove_prefix(std::min(line.size() + 1, file.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty()) continue;
    const size_t space = line.find(' ');
    TokenEntry token;
    bool valid = space != line.npos && base64_decode(line.substr(0, space), token.first);
    if (valid) {
      const char* end = line.data() + line.size();
      const auto [stop, error] = std::from_chars(line.data() + space + 1, end, token.second);
      valid = error == std::errc() && stop == end;
    }
    if (!valid) {
      throw Error(ErrorCode::corrupt_data,
                  fmt::format("tiktoken file: line {} is not a token in base64, a space and a rank", n_line));
    }
    tokens.push_back(std::move(token));
  }
  return tokens;
}

TokenizerParts tokenizer_of_ranks(const std::vector<TokenEntry>& tokens, int32_t first_id, std::string_view pattern,
                                  std::vector<AddedToken> added) {
  std::vector<TokenEntry> entries;
  for (const auto& [bytes, rank] : tokens) {
    check_token(bytes, rank);
    if (rank < 0 || rank >= kMaxTokens) {
      throw Error(ErrorCode::corrupt_data, fmt::format("tokenizer: rank {} is out of range", rank));
    }
    TokenEntry& entry = entries.emplace_back("", rank + first_id);
    byte_level_encode(bytes, entry.first);
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

std::vector<AddedToken> read_added_tokens_decoder(const FileJson& config) {
  std::vector<AddedToken> tokens;
  const auto section = config.find("added_tokens_decoder");
  if (section == config.end() || section->is_null()) return tokens;
  if (!section->is_object()) {
    throw Error(ErrorCode::corrupt_data, "tokenizer_config.json: `added_tokens_decoder` must be an object");
  }
  for (const auto& [key, value] : section->items()) {
    const JsonFields fields(value, "tokenizer_config.json: added_tokens_decoder");
    AddedToken token{.content = fields.text("content"),
                     .single_word = fields.flag_or("single_word", false),
                     .lstrip = fields.flag_or("lstrip", false),
                     .rstrip = fields.flag_or("rstrip", false),
                     .special = fields.flag_or("special", false)};
    const char* end = key.data() + key.size();
    const auto [stop, error] = std::from_chars(key.data(), end, token.id);
    if (error != std::errc() || stop != end || token.id < 0 || token.id >= kMaxTokens) {
      fields.fail(fmt::format("`{}` is no token id", key));
    }
    if (token.content.size() > kMaxTokenBytes) {
      fields.fail(fmt::format("token {} has {} bytes; the limit is {}", key, token.content.size(), kMaxTokenBytes));
    }
    if (!token.content.empty()) tokens.push_back(std::move(token));
  }
  return tokens;
}

}  // namespace arc
