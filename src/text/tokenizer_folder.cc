// The tokenizer of a model folder: which file holds it, and the files beside it that name special tokens.
#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "fmt/format.h"

#include "base/error.h"
#include "base/json.h"
#include "base/mapped_file.h"
#include "text/sentencepiece.h"
#include "text/tekken.h"
#include "text/tiktoken.h"
#include "text/tokenizer.h"

namespace arc {
namespace {

namespace fs = std::filesystem;

// An empty object when the file is not there.
FileJson read_optional(const fs::path& path) {
  if (!fs::exists(path)) return FileJson::object();
  FileJson json(parse_json(read_text_file(path), path.filename().string()));
  if (!json.is_object()) throw Error(ErrorCode::corrupt_data, path.filename().string() + " is no JSON object");
  return json;
}

// ---- the file ------------------------------------------------------------------------------------------------------

bool is_tiktoken(std::string_view bytes) {
  return !bytes.starts_with('\n');  // which a SentencePiece model begins with, and no base64
}

// Tokens that the folder's configuration adds, or describes better.
void set_added_tokens(const FileJson& config, TokenizerParts& parts) {
  std::map<int32_t, AddedToken> by_id;
  for (AddedToken& token : parts.added_tokens) by_id[token.id] = std::move(token);
  for (AddedToken& token : read_added_tokens_decoder(config)) by_id[token.id] = std::move(token);
  parts.added_tokens.clear();
  for (auto& [id, token] : by_id) parts.added_tokens.push_back(std::move(token));
}

// What such a file does not say is transformers' own default.
TokenizerParts read_sentencepiece(std::string_view bytes, const FileJson& config) {
  const JsonFields fields(config, "tokenizer_config.json");
  const bool is_t5 = fields.text_or("tokenizer_class", "").starts_with("T5Tokenizer");
  TokenizerParts parts =
      tokenizer_of_pieces(parse_sentencepiece(bytes), {.add_bos = fields.flag_or("add_bos_token", !is_t5),
                                                       .add_eos = fields.flag_or("add_eos_token", is_t5),
                                                       .prefix_first_only = !fields.flag_or("legacy", true)});
  set_added_tokens(config, parts);
  return parts;
}

// Llama's folders say no more of their files than the name, which stands for itself then.
TokenizerParts read_ranks(const fs::path& path, std::string_view bytes, const FileJson& config) {
  const std::string stem = path.stem().string();
  std::string family = JsonFields(config, "tokenizer_config.json").text_or("tokenizer_class", stem);
  if (family == "LlamaTokenizer" || family == "LlamaTokenizerFast") family = "PreTrainedTokenizerFast";
  return read_tiktoken(bytes, family, read_added_tokens_decoder(config));
}

// The one file of the folder that ends so; an empty path when there is none, or more.
fs::path only_file(const fs::path& folder, std::string_view ending) {
  fs::path found;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    if (!entry.path().filename().string().ends_with(ending)) continue;
    if (!found.empty()) return {};
    found = entry.path();
  }
  return found;
}

Tokenizer read_folder(const fs::path& folder, const FileJson& config) {
  const auto at = [&](const char* name) { return folder / name; };
  if (fs::exists(at("tokenizer.json"))) return Tokenizer::from_json(read_text_file(at("tokenizer.json")));
  if (fs::exists(at("tekken.json"))) return Tokenizer(read_tekken(read_text_file(at("tekken.json"))));
  for (const fs::path& path :
       {at("tokenizer.model"), at("spiece.model"), at("tiktoken.model"), only_file(folder, ".tiktoken")}) {
    if (path.empty() || !fs::exists(path)) continue;
    const std::string bytes = read_text_file(path);
    return Tokenizer(is_tiktoken(bytes) ? read_ranks(path, bytes, config) : read_sentencepiece(bytes, config));
  }
  throw Error(ErrorCode::not_found,
              fmt::format("{} has no tokenizer: looked for tokenizer.json, tekken.json, tokenizer.model, spiece.model, "
                          "tiktoken.model and *.tiktoken; download the model again, with these files",
                          folder.string()));
}

// ---- special tokens ------------------------------------------------------------------------------------------------

// "<s>", or {"content": "<s>", ...}.
std::optional<int32_t> read_special(const FileJson& config, const char* key, const Tokenizer& tokenizer) {
  const auto entry = config.find(key);
  if (entry == config.end()) return std::nullopt;
  if (entry->is_string()) return tokenizer.token_id(entry->get<std::string>());
  if (!entry->is_object() || !entry->contains("content")) return std::nullopt;
  return tokenizer.token_id(JsonFields(*entry, fmt::format("tokenizer_config.json: {}", key)).text("content"));
}

// `eos_token_id` of generation_config.json: one id, or several.
std::vector<int32_t> read_stop_ids(const FileJson& config) {
  std::vector<int32_t> ids;
  const auto entry = config.find("eos_token_id");
  if (entry == config.end() || entry->is_null()) return ids;
  const FileJson list = entry->is_array() ? *entry : FileJson::array({*entry});
  for (const FileJson& id : list) {
    const bool valid = id.is_number_unsigned() && id.get<uint64_t>() < uint64_t{kMaxTokens};
    if (!valid) {
      throw Error(ErrorCode::corrupt_data, fmt::format("generation_config.json: `eos_token_id` {} is no token id",
                                                       id.dump(-1, ' ', false, FileJson::error_handler_t::replace)));
    }
    ids.push_back(id.get<int32_t>());
  }
  return ids;
}

// What the files beside the tokenizer's name, else what it says itself.
SpecialTokens read_specials(const fs::path& folder, const FileJson& config, const Tokenizer& tokenizer) {
  const FileJson map = read_optional(folder / "special_tokens_map.json");
  const SpecialTokens& own = tokenizer.special();
  const auto special = [&](const char* key, std::optional<int32_t> fallback) {
    for (const FileJson* file : {&config, &map}) {
      if (const auto id = read_special(*file, key, tokenizer)) return id;
    }
    return fallback;
  };
  SpecialTokens result{.bos = special("bos_token", own.bos),
                       .eos = special("eos_token", own.eos),
                       .pad = special("pad_token", own.pad),
                       .unk = special("unk_token", own.unk),
                       .stop = read_stop_ids(read_optional(folder / "generation_config.json"))};
  if (result.stop.empty()) result.stop = read_stop_ids(read_optional(folder / "config.json"));
  if (result.eos) result.stop.push_back(*result.eos);
  std::ranges::sort(result.stop);
  result.stop.erase(std::ranges::unique(result.stop).begin(), result.stop.end());
  return result;
}

}  // namespace

Tokenizer load_tokenizer(const fs::path& folder) {
  const FileJson config = read_optional(folder / "tokenizer_config.json");
  Tokenizer tokenizer = read_folder(folder, config);
  tokenizer.set_special(read_specials(folder, config, tokenizer));
  return tokenizer;
}

}  // namespace arc
