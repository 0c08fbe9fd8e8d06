#include "serve/openai_request.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <optional>
#include <span>
#include <utility>

#include "fmt/format.h"
#include "nlohmann/json.hpp"

#include "base/error.h"
#include "serve/api_error.h"
#include "serve/chat_messages.h"
#include "serve/request_field.h"

namespace arc::serve {
namespace {

constexpr int32_t kMaxInt = std::numeric_limits<int32_t>::max();
constexpr int32_t kDefaultCompletionTokens = 16;  // OpenAI's, for /v1/completions

// What the readers of the fields fill.
struct Draft {
  const RequestLimits& limits;
  ApiRequest request;
  SamplingParams sampling;
  std::vector<Prompt> prompts;
  ChatPrompt chat;
  Json template_arguments;
  std::string cache_salt;
  EmbeddingParams embedding;
  std::optional<int32_t> max_completion_tokens;  // wins over max_tokens
  std::optional<bool> add_special_tokens;
  bool hide_tools = false;
  bool has_stream_options = false;
};

struct FieldReader {
  std::string_view name;
  void (*read)(const Field& field, Draft& draft);
};

// A field that the server takes at one value only, written as JSON.
struct FixedField {
  std::string_view name;
  std::string_view value;
};

// ---- fields with some work to them ---------------------------------------------------------------------------------

void read_stop(const Field& field, Draft& draft) {
  const auto read_one = [&](const Field& item) {
    const std::string& text = item.string();
    if (text.empty() || text.size() > draft.limits.max_stop_bytes) {
      item.reject(fmt::format("a string of 1 to {} bytes", draft.limits.max_stop_bytes));
    }
    draft.sampling.stop.push_back(text);
  };
  if (field.value().is_string()) return read_one(field);
  for (size_t i = 0; i < field.list(draft.limits.max_stop).size(); ++i) read_one(field[i]);
}

std::vector<int32_t> read_tokens(const Field& field, size_t max_tokens, const Draft& draft) {
  std::vector<int32_t> tokens;
  const size_t n = field.list(max_tokens).size();
  tokens.reserve(n);
  for (size_t i = 0; i < n; ++i) tokens.push_back(field[i].int32(0, draft.limits.vocab_size - 1));
  return tokens;
}

// {"50256": -100}: token ids as keys, because JSON has no other.
void read_logit_bias(const Field& field, Draft& draft) {
  const Json& biases = field.object();
  if (biases.size() > draft.limits.max_logit_bias) {
    field.reject(fmt::format("an object with at most {} members", draft.limits.max_logit_bias));
  }
  for (const auto& [key, value] : biases.items()) {
    int32_t token = -1;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), token);
    if (error != std::errc() || end != key.data() + key.size() || token < 0 || token >= draft.limits.vocab_size) {
      throw RequestError(
          ErrorCode::invalid_argument, field.name(),
          fmt::format("The keys of {} must be token ids from 0 to {}.", field.name(), draft.limits.vocab_size - 1));
    }
    const double bias = Field(fmt::format("{}.{}", field.name(), token), value).number(-100, 100);
    draft.sampling.logit_bias.emplace_back(token, static_cast<float>(bias));
  }
}

void read_stream_options(const Field& field, Draft& draft) {
  draft.has_stream_options = true;
  for (const auto& [key, value] : field.object().items()) {
    if (key == "include_usage") {
      draft.request.include_usage = Field("stream_options.include_usage", value).boolean();
    } else if (key != "include_obfuscation") {
      field.reject("an object with include_usage");
    }
  }
}

// A text, a list of texts, a list of token ids, or a list of such lists.
void read_prompts(const Field& field, size_t max_prompts, Draft& draft) {
  const auto add_tokens = [&draft](const Field& tokens) {
    if (tokens.value().empty()) tokens.reject("a list of at least one token id");
    draft.prompts.push_back(TokenPrompt{read_tokens(tokens, std::numeric_limits<size_t>::max(), draft)});
  };
  const Json& value = field.value();
  if (value.is_string()) {
    draft.prompts.push_back(TextPrompt{.text = field.string()});
    return;
  }
  if (!value.is_array() || value.empty()) {
    field.reject("a string, a list of token ids, or a list of at least one of these");
  }
  if (value[0].is_number()) return add_tokens(field);
  const size_t n = field.list(max_prompts).size();
  for (size_t i = 0; i < n; ++i) {
    if (value[0].is_string()) {
      draft.prompts.push_back(TextPrompt{.text = field[i].string()});
    } else if (value[i].is_array()) {
      add_tokens(field[i]);
    } else {
      field[i].reject("a list of token ids");
    }
  }
}

void read_prompt(const Field& field, Draft& draft) {
  read_prompts(field, draft.limits.max_prompts, draft);
}

void read_input(const Field& field, Draft& draft) {
  read_prompts(field, draft.limits.max_inputs, draft);
}

void read_encoding(const Field& field, Draft& draft) {
  draft.request.base64 = field.string() == "base64";
  if (!draft.request.base64 && field.string() != "float") field.reject("\"float\" or \"base64\"");
}

void read_response_format(const Field& field, Draft&) {
  const Field type = field.member("type");
  if (type.string() != "text") type.reject_unsupported("response_format.type must be \"text\": no other is offered.");
}

void read_tool_choice(const Field& field, Draft& draft) {
  const Json& choice = field.value();
  if (choice == "none") {
    draft.hide_tools = true;
  } else if (choice != "auto") {
    field.reject_unsupported("tool_choice must be \"auto\" or \"none\": no other is offered.");
  }
}

void read_template_arguments(const Field& field, Draft& draft) {
  for (const auto& [key, value] : field.object().items()) draft.template_arguments[key] = value;
}

void read_template_argument(const Field& field, Draft& draft) {
  if (!draft.template_arguments.contains(field.name())) draft.template_arguments[field.name()] = field.value();
}

// ---- the fields ----------------------------------------------------------------------------------------------------

constexpr FieldReader kEveryApi[] = {
    {"model", [](const Field& f, Draft& d) { d.request.model = f.string(); }},
};

constexpr FieldReader kGeneration[] = {
    {"stream", [](const Field& f, Draft& d) { d.request.stream = f.boolean(); }},
    {"stream_options", read_stream_options},
    {"temperature", [](const Field& f, Draft& d) { d.sampling.temperature = static_cast<float>(f.number(0, 2)); }},
    {"top_p", [](const Field& f, Draft& d) { d.sampling.top_p = static_cast<float>(f.number(0, 1)); }},
    {"min_p", [](const Field& f, Draft& d) { d.sampling.min_p = static_cast<float>(f.number(0, 1)); }},
    {"top_k", [](const Field& f, Draft& d) { d.sampling.top_k = std::max(0, f.int32(-1, kMaxInt)); }},
    {"repetition_penalty",
     [](const Field& f, Draft& d) { d.sampling.repetition_penalty = static_cast<float>(f.number(0.01, 100)); }},
    {"frequency_penalty",
     [](const Field& f, Draft& d) { d.sampling.frequency_penalty = static_cast<float>(f.number(-2, 2)); }},
    {"presence_penalty",
     [](const Field& f, Draft& d) { d.sampling.presence_penalty = static_cast<float>(f.number(-2, 2)); }},
    {"logit_bias", read_logit_bias},
    {"seed",
     [](const Field& f, Draft& d) {
       d.sampling.seed =
           static_cast<uint64_t>(f.integer(std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max()));
     }},
    {"n", [](const Field& f, Draft& d) { d.sampling.n = f.int32(1, d.limits.max_n); }},
    {"max_tokens", [](const Field& f, Draft& d) { d.sampling.max_tokens = f.int32(0, kMaxInt); }},
    {"min_tokens", [](const Field& f, Draft& d) { d.sampling.min_tokens = f.int32(0, kMaxInt); }},
    {"ignore_eos", [](const Field& f, Draft& d) { d.sampling.ignore_eos = f.boolean(); }},
    {"stop", read_stop},
    {"stop_token_ids",
     [](const Field& f, Draft& d) { d.sampling.stop_token_ids = read_tokens(f, d.limits.max_stop_token_ids, d); }},
    {"return_tokens_as_token_ids", [](const Field& f, Draft& d) { d.request.tokens_as_ids = f.boolean(); }},
    {"cache_salt", [](const Field& f, Draft& d) { d.cache_salt = f.string(); }},
};

constexpr FieldReader kCompletions[] = {
    {"prompt", read_prompt},
    {"echo", [](const Field& f, Draft& d) { d.request.echo = f.boolean(); }},
    {"logprobs",
     [](const Field& f, Draft& d) {
       d.sampling.logprobs = true;
       d.sampling.top_logprobs = f.int32(0, d.limits.max_logprobs);
     }},
    {"add_special_tokens", [](const Field& f, Draft& d) { d.add_special_tokens = f.boolean(); }},
};

constexpr FieldReader kConversation[] = {
    {"messages",
     [](const Field& f, Draft& d) { d.chat.messages_json = template_messages(f, d.limits.max_messages).dump(); }},
    {"tools", [](const Field& f, Draft& d) { d.chat.tools_json = template_tools(f, d.limits.max_tools).dump(); }},
    {"tool_choice", read_tool_choice},
    {"add_generation_prompt", [](const Field& f, Draft& d) { d.chat.add_generation_prompt = f.boolean(); }},
    {"chat_template_kwargs", read_template_arguments},
    {"enable_thinking", read_template_argument},
    {"reasoning_effort", read_template_argument},
};

constexpr FieldReader kChat[] = {
    {"logprobs", [](const Field& f, Draft& d) { d.sampling.logprobs = f.boolean(); }},
    {"top_logprobs", [](const Field& f, Draft& d) { d.sampling.top_logprobs = f.int32(0, d.limits.max_logprobs); }},
    {"max_completion_tokens", [](const Field& f, Draft& d) { d.max_completion_tokens = f.int32(1, kMaxInt); }},
    {"response_format", read_response_format},
};

constexpr FieldReader kEmbeddings[] = {
    {"input", read_input},
    {"encoding_format", read_encoding},
    {"dimensions", [](const Field& f, Draft& d) { d.embedding.dimensions = f.int32(1, kMaxInt); }},
    {"prompt_name", [](const Field& f, Draft& d) { d.embedding.prompt_name = f.string(); }},
    {"truncate_sequence", [](const Field& f, Draft& d) { d.embedding.truncate = f.boolean(); }},
    {"add_special_tokens", [](const Field& f, Draft& d) { d.add_special_tokens = f.boolean(); }},
};

constexpr FieldReader kTokenize[] = {
    {"prompt", [](const Field& f, Draft& d) { d.prompts.push_back(TextPrompt{.text = f.string()}); }},
    {"add_special_tokens", [](const Field& f, Draft& d) { d.add_special_tokens = f.boolean(); }},
    {"return_token_strs", [](const Field& f, Draft& d) { d.request.token_strings = f.boolean(); }},
};

constexpr FieldReader kDetokenize[] = {
    {"tokens",
     [](const Field& f, Draft& d) {
       d.prompts.push_back(TokenPrompt{read_tokens(f, std::numeric_limits<size_t>::max(), d)});
     }},
};

using FieldReaders = std::span<const FieldReader>;

// The fields that an API has.
std::vector<FieldReaders> fields_of(Api api) {
  switch (api) {
    case Api::chat:
      return {kEveryApi, kGeneration, kConversation, kChat};
    case Api::completions:
      return {kEveryApi, kGeneration, kCompletions};
    case Api::embeddings:
      return {kEveryApi, kEmbeddings};
    case Api::tokenize:
      return {kEveryApi, kConversation, kTokenize};
    case Api::detokenize:
      return {kEveryApi, kDetokenize};
  }
  return {};
}

constexpr FixedField kFixedFields[] = {
    {"best_of", "1"},
    {"suffix", "\"\""},
    {"use_beam_search", "false"},
    {"length_penalty", "1.0"},
    {"skip_special_tokens", "true"},
    {"spaces_between_special_tokens", "true"},
    {"include_stop_str_in_output", "false"},
    {"continue_final_message", "false"},
    {"add_special_tokens", "false"},  // a chat template writes them
    {"modalities", "[\"text\"]"},
    {"functions", "[]"},
    {"function_call", "\"none\""},
};

// OpenAI's fields about accounts, storage and speed, which do not change the answer.
constexpr std::string_view kIgnoredFields[] = {
    "user",
    "metadata",
    "store",
    "service_tier",
    "parallel_tool_calls",
    "prediction",
    "priority",
    "request_id",
    "prompt_cache_key",
    "safety_identifier",
    "prompt_cache_retention",
};

void read_field(const Field& field, Draft& draft) {
  for (const FieldReaders readers : fields_of(draft.request.api)) {
    const auto reader = std::ranges::find(readers, field.name(), &FieldReader::name);
    if (reader == readers.end()) continue;
    if (!field.value().is_null()) reader->read(field, draft);
    return;
  }
  if (std::ranges::find(kIgnoredFields, field.name()) != std::end(kIgnoredFields)) return;
  const auto fixed = std::ranges::find(kFixedFields, field.name(), &FixedField::name);
  if (fixed == std::end(kFixedFields)) {
    throw RequestError(ErrorCode::invalid_argument, field.name(),
                       fmt::format("This API has no field '{}'.", field.name()));
  }
  if (!field.value().is_null() && field.value() != Json::parse(fixed->value)) {
    field.reject_unsupported(fmt::format("{} is offered at the value {} only.", field.name(), fixed->value));
  }
}

// ---- checks across fields, and the result --------------------------------------------------------------------------

void require(bool condition, std::string_view param, const std::string& message) {
  if (!condition) throw RequestError(ErrorCode::invalid_argument, std::string(param), message);
}

void check_together(const Draft& draft, size_t n_prompts) {
  const SamplingParams& s = draft.sampling;
  require(draft.request.stream || !draft.has_stream_options, "stream_options", "stream_options needs stream: true.");
  require(s.logprobs || s.top_logprobs == 0, "top_logprobs", "top_logprobs needs logprobs: true.");
  require(s.max_tokens != 0 || draft.request.echo, "max_tokens", "max_tokens must be at least 1 unless echo is true.");
  require(s.max_tokens < 0 || s.min_tokens <= s.max_tokens, "min_tokens",
          fmt::format("min_tokens is {}, which is more than max_tokens, {}.", s.min_tokens, s.max_tokens));
  require(n_prompts * static_cast<size_t>(s.n) <= draft.limits.max_choices, "n",
          fmt::format("{} prompts with n = {} are more than {} answers.", n_prompts, s.n, draft.limits.max_choices));
}

SamplingParams sampling_of(const SamplingDefaults& defaults) {
  SamplingParams sampling;
  sampling.temperature = defaults.temperature.value_or(sampling.temperature);
  sampling.top_k = std::max(0, defaults.top_k.value_or(sampling.top_k));
  sampling.top_p = defaults.top_p.value_or(sampling.top_p);
  sampling.min_p = defaults.min_p.value_or(sampling.min_p);
  sampling.repetition_penalty = defaults.repetition_penalty.value_or(sampling.repetition_penalty);
  return sampling;
}

void finish_chat(Draft& draft) {
  require(!draft.chat.messages_json.empty(), "messages", "messages is missing.");
  if (draft.hide_tools) draft.chat.tools_json.clear();
  if (!draft.template_arguments.is_null()) draft.chat.template_arguments_json = draft.template_arguments.dump();
  if (draft.max_completion_tokens) draft.sampling.max_tokens = *draft.max_completion_tokens;
  draft.prompts.push_back(std::move(draft.chat));
}

void finish_texts(Draft& draft, const std::string& field = "prompt") {
  require(!draft.prompts.empty(), field, field + " is missing.");
  for (Prompt& prompt : draft.prompts) {
    if (auto* text = std::get_if<TextPrompt>(&prompt))
      text->add_special_tokens = draft.add_special_tokens.value_or(true);
  }
}

void finish_completions(Draft& draft) {
  finish_texts(draft);
  if (draft.sampling.max_tokens < 0) draft.sampling.max_tokens = kDefaultCompletionTokens;
  draft.sampling.prompt_logprobs = draft.request.echo && draft.sampling.logprobs;
}

// A text, or a conversation.
void finish_tokenize(Draft& draft) {
  if (draft.chat.messages_json.empty()) return finish_texts(draft);
  require(draft.prompts.empty(), "prompt", "A request has prompt or messages, not both.");
  require(!draft.add_special_tokens.value_or(false), "add_special_tokens",
          "add_special_tokens must be false with messages: the chat template writes them.");
  finish_chat(draft);
}

void finish(Draft& draft) {
  switch (draft.request.api) {
    case Api::chat:
      return finish_chat(draft);
    case Api::completions:
      return finish_completions(draft);
    case Api::embeddings:
      return finish_texts(draft, "input");
    case Api::tokenize:
      return finish_tokenize(draft);
    case Api::detokenize:
      return require(!draft.prompts.empty(), "tokens", "tokens is missing.");
  }
}

}  // namespace

ApiRequest parse_request(Api api, std::string_view body, const RequestLimits& limits,
                         const SamplingDefaults& defaults) {
  const Json json = parse_body(body);
  Draft draft{.limits = limits, .sampling = sampling_of(defaults)};
  draft.request.api = api;
  for (const auto& [name, value] : json.items()) read_field(Field(name, value), draft);
  finish(draft);
  if (api != Api::embeddings) check_together(draft, draft.prompts.size());
  for (Prompt& prompt : draft.prompts) {
    Request& one = draft.request.requests.emplace_back();
    one = {.prompt = std::move(prompt), .sampling = draft.sampling, .cache_salt = draft.cache_salt};
    if (api == Api::embeddings) one.embedding = draft.embedding;
  }
  return std::move(draft.request);
}

}  // namespace arc::serve
