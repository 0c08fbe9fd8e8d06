// libFuzzer target: a JSON object with the keys of GgufVocabulary, and a text. The only way out is a tokenizer that
// works or an arc::Error.
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "text/base64.h"
#include "text/gguf_vocabulary.h"
#include "text/json_fields.h"
#include "text/tokenizer_check.h"

namespace {

using arc::FileJson;

// The values of a list that are of type T.
template <typename T>
std::vector<T> list(const FileJson& file, const char* key, bool (FileJson::*is_one)() const noexcept) {
  std::vector<T> values;
  const auto found = file.find(key);
  if (found == file.end() || !found->is_array()) return values;
  for (const FileJson& value : *found) {
    if ((value.*is_one)()) values.push_back(value.get<T>());
  }
  return values;
}

std::string text_of(const FileJson& file, const char* key) {
  const auto found = file.find(key);
  return found != file.end() && found->is_string() ? found->get<std::string>() : std::string();
}
std::optional<int64_t> id_of(const FileJson& file, const char* key) {
  const auto found = file.find(key);
  return found != file.end() && found->is_number_integer() ? std::optional(found->get<int64_t>()) : std::nullopt;
}
std::optional<bool> flag_of(const FileJson& file, const char* key) {
  const auto found = file.find(key);
  return found != file.end() && found->is_boolean() ? std::optional(found->get<bool>()) : std::nullopt;
}

arc::GgufVocabulary read(const FileJson& file) {
  return {.model = text_of(file, "model"),
          .pre = text_of(file, "pre"),
          .tokens = list<std::string>(file, "tokens", &FileJson::is_string),
          .scores = list<double>(file, "scores", &FileJson::is_number),
          .token_type = list<int64_t>(file, "token_type", &FileJson::is_number_integer),
          .merges = list<std::string>(file, "merges", &FileJson::is_string),
          .precompiled_charsmap = arc::base64_decode(text_of(file, "precompiled_charsmap")).value_or(""),
          .bos_token_id = id_of(file, "bos_token_id"),
          .eos_token_id = id_of(file, "eos_token_id"),
          .eot_token_id = id_of(file, "eot_token_id"),
          .unknown_token_id = id_of(file, "unknown_token_id"),
          .seperator_token_id = id_of(file, "seperator_token_id"),
          .padding_token_id = id_of(file, "padding_token_id"),
          .add_bos_token = flag_of(file, "add_bos_token"),
          .add_eos_token = flag_of(file, "add_eos_token"),
          .add_sep_token = flag_of(file, "add_sep_token"),
          .add_space_prefix = flag_of(file, "add_space_prefix"),
          .remove_extra_whitespaces = flag_of(file, "remove_extra_whitespaces"),
          .lowercase = flag_of(file, "lowercase").value_or(true),
          .strips_after_added = flag_of(file, "strips_after_added").value_or(false)};
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const FileJson file = FileJson::parse(data, data + size, nullptr, false);
  if (!file.is_object()) return 0;
  try {
    arc::check_tokenizer(arc::Tokenizer(arc::tokenizer_of_gguf(read(file))), text_of(file, "text"));
  } catch (const arc::Error&) {  // expected of most inputs
  }
  return 0;
}
