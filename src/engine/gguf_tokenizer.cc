#include "engine/gguf_tokenizer.h"

#include <algorithm>
#include <string>
#include <vector>

#include "fmt/format.h"
#include "nlohmann/json.hpp"

#include "base/error.h"
#include "base/utf8.h"
#include "text/sentencepiece.h"
#include "text/tokenizer_parts.h"

namespace arc {
namespace {

// tokenizer.ggml.token_type: SentencePiece's kinds of pieces.
constexpr int64_t kControl = 3, kUserDefined = 4, kByte = 6;

const GgufValue* find(const GgufMetadata& metadata, std::string_view key) {
  const auto found = metadata.find(fmt::format("tokenizer.{}", key));
  return found == metadata.end() ? nullptr : &found->second;
}

std::string text_or(const GgufMetadata& metadata, std::string_view key, std::string_view fallback) {
  const GgufValue* value = find(metadata, key);
  return std::string(value == nullptr ? fallback : value->string().value_or(fallback));
}

bool flag_or(const GgufMetadata& metadata, std::string_view key, bool fallback) {
  const GgufValue* value = find(metadata, key);
  if (value == nullptr || value->is_array()) return fallback;
  const Json json = value->json();
  return json.is_boolean() ? json.get<bool>() : fallback;
}

std::vector<std::string> strings(const GgufMetadata& metadata, std::string_view key) {
  std::vector<std::string> result;
  const GgufValue* value = find(metadata, key);
  if (value == nullptr) return result;
  for (std::string_view text : value->strings()) result.push_back(utf8_replace_invalid(text));
  return result;
}

// Kinds by id; tokens past the list's end are normal.
std::vector<int64_t> kinds_of(const GgufMetadata& metadata, size_t n_tokens) {
  const GgufValue* value = find(metadata, "ggml.token_type");
  std::vector<int64_t> kinds = value == nullptr ? std::vector<int64_t>() : value->integers();
  kinds.resize(n_tokens, 1);
  return kinds;
}

std::optional<int32_t> token_id(const GgufMetadata& metadata, std::string_view key, size_t n_tokens) {
  const GgufValue* value = find(metadata, key);
  const std::optional<int64_t> id = value == nullptr ? std::nullopt : value->integer();
  if (!id || *id < 0 || *id >= static_cast<int64_t>(n_tokens)) return std::nullopt;
  return static_cast<int32_t>(*id);
}

// Byte-level BPE, told as a tokenizer.json.
Tokenizer byte_level_bpe(const GgufMetadata& metadata, const std::vector<std::string>& tokens) {
  constexpr std::string_view kQwen2 =
      R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
  constexpr std::string_view kLlama3 =
      R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
  const std::string pre = text_or(metadata, "ggml.pre", "default");
  const bool is_qwen = pre == "qwen2", is_llama = pre == "llama-bpe";
  if (!is_qwen && !is_llama && pre != "gpt-2" && pre != "default") {
    throw Error(ErrorCode::unsupported, fmt::format("tokenizer.ggml.pre is \"{}\", which Arc does not support", pre));
  }
  Json cut = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", !is_qwen && !is_llama}};
  if (is_qwen || is_llama) {
    const Json split = {{"type", "Split"},
                        {"pattern", {{"Regex", is_qwen ? kQwen2 : kLlama3}}},
                        {"behavior", "Isolated"},
                        {"invert", false}};
    cut = {{"type", "Sequence"}, {"pretokenizers", {split, cut}}};
  }
  const std::vector<int64_t> kinds = kinds_of(metadata, tokens.size());
  nlohmann::json vocabulary = nlohmann::json::object();
  Json added = Json::array();
  for (size_t id = 0; id < tokens.size(); ++id) {
    if (kinds[id] == kControl || kinds[id] == kUserDefined) {
      added.push_back({{"id", id}, {"content", tokens[id]}, {"special", kinds[id] == kControl}});
    } else {
      vocabulary[tokens[id]] = id;
    }
  }
  const nlohmann::json document = {{"added_tokens", added},
                                   {"normalizer", is_qwen ? nlohmann::json{{"type", "NFC"}} : nlohmann::json(nullptr)},
                                   {"pre_tokenizer", cut},
                                   {"decoder", {{"type", "ByteLevel"}}},
                                   {"model",
                                    {{"type", "BPE"},
                                     {"ignore_merges", is_llama},
                                     {"vocab", std::move(vocabulary)},
                                     {"merges", strings(metadata, "ggml.merges")}}}};
  return Tokenizer::from_json(document.dump());
}

Tokenizer sentencepiece(const GgufMetadata& metadata, std::vector<std::string> tokens) {
  const std::vector<int64_t> kinds = kinds_of(metadata, tokens.size());
  const GgufValue* value = find(metadata, "ggml.scores");
  std::vector<double> scores = value == nullptr ? std::vector<double>() : value->numbers();
  scores.resize(tokens.size(), 0.0);
  SentencePieceModel model{.algorithm = SentencePieceModel::Algorithm::bpe,
                           .byte_fallback = std::ranges::find(kinds, kByte) != kinds.end(),
                           .add_dummy_prefix = flag_or(metadata, "ggml.add_space_prefix", true),
                           .remove_extra_whitespaces = flag_or(metadata, "ggml.remove_extra_whitespaces", false)};
  for (size_t id = 0; id < tokens.size(); ++id) {
    const int64_t kind = std::clamp<int64_t>(kinds[id], 1, 6);
    model.pieces.push_back({.text = std::move(tokens[id]),
                            .score = static_cast<float>(scores[id]),
                            .type = static_cast<SentencePieceModel::Type>(kind)});
  }
  const auto is_unknown = [](const auto& piece) { return piece.type == SentencePieceModel::Type::unknown; };
  if (!model.pieces.empty() && std::ranges::none_of(model.pieces, is_unknown)) {  // some converters call it a control
    const int32_t id = token_id(metadata, "ggml.unknown_token_id", model.pieces.size()).value_or(0);
    model.pieces[id].type = SentencePieceModel::Type::unknown;
  }
  model.bos_id = token_id(metadata, "ggml.bos_token_id", model.pieces.size()).value_or(-1);
  model.eos_id = token_id(metadata, "ggml.eos_token_id", model.pieces.size()).value_or(-1);
  check_sentencepiece(model, "tokenizer.ggml.tokens");
  return Tokenizer(tokenizer_of_pieces(model, {.add_bos = flag_or(metadata, "ggml.add_bos_token", true),
                                               .add_eos = flag_or(metadata, "ggml.add_eos_token", false)}));
}

}  // namespace

Tokenizer gguf_tokenizer(const GgufMetadata& metadata) {
  const std::string kind = text_or(metadata, "ggml.model", "");
  std::vector<std::string> tokens = strings(metadata, "ggml.tokens");
  const size_t n_tokens = tokens.size();
  if (kind != "gpt2" && kind != "llama") {
    throw Error(ErrorCode::unsupported, fmt::format("tokenizer.ggml.model is \"{}\"; Arc knows gpt2 and llama", kind));
  }
  Tokenizer tokenizer = kind == "gpt2" ? byte_level_bpe(metadata, tokens) : sentencepiece(metadata, std::move(tokens));
  SpecialTokens special{.bos = token_id(metadata, "ggml.bos_token_id", n_tokens),
                        .eos = token_id(metadata, "ggml.eos_token_id", n_tokens),
                        .pad = token_id(metadata, "ggml.padding_token_id", n_tokens),
                        .unk = token_id(metadata, "ggml.unknown_token_id", n_tokens)};
  for (const char* key : {"ggml.eos_token_id", "ggml.eot_token_id", "ggml.eom_token_id"}) {
    if (const std::optional<int32_t> id = token_id(metadata, key, n_tokens)) special.stop.push_back(*id);
  }
  std::ranges::sort(special.stop);
  special.stop.erase(std::ranges::unique(special.stop).begin(), special.stop.end());
  tokenizer.set_special(std::move(special));
  return tokenizer;
}

std::optional<ChatTemplate> gguf_chat_template(const GgufMetadata& metadata, const Tokenizer& tokenizer) {
  const std::string text = text_or(metadata, "chat_template", "");
  if (text.empty()) return std::nullopt;
  ChatTemplate chat(text);
  const auto set = [&](const char* name, const std::optional<int32_t>& id) {
    if (id && tokenizer.token_text(*id) != nullptr) chat.set_special_token(name, *tokenizer.token_text(*id));
  };
  set("bos_token", tokenizer.special().bos);
  set("eos_token", tokenizer.special().eos);
  set("pad_token", tokenizer.special().pad);
  set("unk_token", tokenizer.special().unk);
  return chat;
}

}  // namespace arc
