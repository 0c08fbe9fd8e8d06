// Builds a Tokenizer from tokenizer.json.
#include "fmt/format.h"

#include "base/error.h"
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

}  // namespace arc
