// Builds a Tokenizer from tokenizer.json, and from the files beside it that name special tokens.
#include <algorithm>

#include "fmt/format.h"

#include "base/error.h"
#include "base/json.h"
#include "base/mapped_file.h"
#include "text/tokenizer.h"
#include "text/tokenizer_json.h"

namespace arc {
namespace {

BpeOptions read_bpe_options(const JsonFields& model) {
  const FileJson* dropout = model.find("dropout");
  if (dropout != nullptr && *dropout != 0.0) {
    model.unsupported("has `dropout`, which makes encoding random; set it to null");
  }
  return {.unk_token = model.text_or("unk_token", ""),
          .continuing_subword_prefix = model.text_or("continuing_subword_prefix", ""),
          .end_of_word_suffix = model.text_or("end_of_word_suffix", ""),
          .fuse_unk = model.flag_or("fuse_unk", false),
          .byte_fallback = model.flag_or("byte_fallback", false),
          .ignore_merges = model.flag_or("ignore_merges", false)};
}

Unigram read_unigram(const TokenizerJson& file, const JsonFields& model) {
  const FileJson* unk_id = model.find("unk_id");
  return Unigram(file.scored, {.unk_id = unk_id == nullptr ? std::nullopt : std::optional(model.integer("unk_id")),
                               .byte_fallback = model.flag_or("byte_fallback", false)});
}

// Old files do not name the type; each has fields that others lack.
std::string model_type(const TokenizerJson& file, const JsonFields& model) {
  if (model.find("type") != nullptr) return model.text("type");
  if (!file.scored.empty()) return "Unigram";
  if (model.find("max_input_chars_per_word") != nullptr) return "WordPiece";
  return file.has_merges ? "BPE" : "WordLevel";
}

Model read_model(const TokenizerJson& file, const JsonFields& model) {
  const std::string type = model_type(file, model);
  if (type != "Unigram" && !file.scored.empty()) model.fail("has a `vocab` that does not map texts to ids");
  if (type == "BPE") return Bpe(Vocabulary(file.vocabulary), file.merges, read_bpe_options(model));
  if (type == "Unigram") return read_unigram(file, model);
  if (type == "WordPiece") {
    return WordPiece(Vocabulary(file.vocabulary),
                     {.unk_token = model.text_or("unk_token", "[UNK]"),
                      .continuing_subword_prefix = model.text_or("continuing_subword_prefix", "##"),
                      .max_input_chars_per_word = model.integer_or("max_input_chars_per_word", 100)});
  }
  if (type == "WordLevel") return WordLevel(Vocabulary(file.vocabulary), model.text_or("unk_token", "<unk>"));
  model.unsupported(fmt::format("type `{}` is not supported; BPE, Unigram, WordPiece and WordLevel are", type));
}

// A file beside tokenizer.json; an empty object when it is not there.
FileJson read_optional(const std::filesystem::path& path) {
  if (!std::filesystem::exists(path)) return FileJson::object();
  return FileJson(parse_json(read_text_file(path), path.filename().string()));
}

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

SpecialTokens read_specials(const std::filesystem::path& folder, const Tokenizer& tokenizer) {
  const FileJson config = read_optional(folder / "tokenizer_config.json");
  const FileJson map = read_optional(folder / "special_tokens_map.json");
  const auto special = [&](const char* key) {
    const auto id = read_special(config, key, tokenizer);
    return id ? id : read_special(map, key, tokenizer);
  };
  SpecialTokens result{special("bos_token"), special("eos_token"), special("pad_token"), special("unk_token"), {}};
  result.stop = read_stop_ids(read_optional(folder / "generation_config.json"));
  if (result.stop.empty()) result.stop = read_stop_ids(read_optional(folder / "config.json"));
  if (result.eos) result.stop.push_back(*result.eos);
  std::sort(result.stop.begin(), result.stop.end());
  result.stop.erase(std::unique(result.stop.begin(), result.stop.end()), result.stop.end());
  return result;
}

}  // namespace

Tokenizer Tokenizer::from_json(std::string_view text) {
  const TokenizerJson file = parse_tokenizer_json(text);
  const JsonFields document(file.document, "tokenizer.json");
  const auto section = [&](const char* key) -> const FileJson& {
    static const FileJson null;
    const FileJson* found = document.find(key);
    return found == nullptr ? null : *found;
  };
  Model model = read_model(file, JsonFields(document.at("model"), "tokenizer.json: model"));
  std::vector<AddedToken> added = read_added_tokens(section("added_tokens"), vocabulary_of(model));
  return Tokenizer({.added_tokens = std::move(added),
                    .normalizer = read_normalizer(section("normalizer")),
                    .pre_tokenizer = read_pre_tokenizer(section("pre_tokenizer")),
                    .model = std::move(model),
                    .post_processor = read_post_processor(section("post_processor")),
                    .decoder = read_decoder(section("decoder"))});
}

Tokenizer load_tokenizer(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / "tokenizer.json";
  if (!std::filesystem::exists(path)) {
    throw Error(ErrorCode::not_found,
                fmt::format("{} is missing; Arc reads tokenizers in this format, so save the model's tokenizer as "
                            "tokenizer.json (transformers: AutoTokenizer.save_pretrained)",
                            path.string()));
  }
  Tokenizer tokenizer = Tokenizer::from_json(read_text_file(path));
  tokenizer.set_special(read_specials(folder, tokenizer));
  return tokenizer;
}

}  // namespace arc
