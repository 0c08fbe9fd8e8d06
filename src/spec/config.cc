#include "spec/config.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "fmt/format.h"
#include "fmt/ranges.h"
#include "nlohmann/json.hpp"

#include "base/error.h"

namespace arc {
namespace {

// Keys of any family that say nothing about the forward pass of inference.
constexpr std::string_view kNoMathematics[] = {"_name_or_path",
                                               "architectures",
                                               "attention_dropout",
                                               "auto_map",
                                               "bos_token_id",
                                               "chunk_size_feed_forward",
                                               "dtype",
                                               "embd_pdrop",
                                               "eos_token_id",
                                               "hidden_dropout",
                                               "initializer_range",
                                               "is_decoder",
                                               "is_encoder_decoder",
                                               "model_type",
                                               "output_attentions",
                                               "output_hidden_states",
                                               "output_router_logits",
                                               "pad_token_id",
                                               "resid_pdrop",
                                               "return_dict",
                                               "router_aux_loss_coef",
                                               "torch_dtype",
                                               "transformers_version",
                                               "use_cache",
                                               "text_config",
                                               "unsloth_fixed",
                                               "decoder_start_token_id",
                                               "sep_token_id",
                                               "id2label",
                                               "label2id",
                                               "problem_type",
                                               "cross_attention_hidden_size",
                                               "add_cross_attention",
                                               "tie_encoder_decoder",
                                               "cache_implementation",
                                               "_attn_implementation_autoset"};

}  // namespace

struct Config::State {
  Json json;
  std::string what;
  std::set<std::string, std::less<>> known;
  std::vector<Config> objects;
};

Config::Config(const Json& json, std::string what) : state_(std::make_shared<State>()) {
  state_->what = std::move(what);
  if (!json.is_object()) {
    throw Error(ErrorCode::corrupt_data, fmt::format("{} must hold a JSON object", state_->what));
  }
  state_->json = json;
  if (const auto nested = json.find("text_config"); nested != json.end() && nested->is_object()) {
    for (const auto& [key, value] : nested->items()) state_->json[key] = value;
    // The outer document's own names say what the model is.
    for (const char* key : {"architectures", "model_type"}) {
      if (json.contains(key)) state_->json[key] = json[key];
    }
  }
  for (std::string_view key : kNoMathematics) state_->known.emplace(key);
}

const Json* Config::find(std::string_view key) const {
  const auto it = state_->json.find(std::string(key));
  if (it == state_->json.end()) return nullptr;
  state_->known.emplace(key);
  return it->is_null() ? nullptr : &*it;
}

const Json& Config::require(std::string_view key) const {
  const Json* value = find(key);
  if (value == nullptr) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("{} lacks \"{}\", which this architecture needs", state_->what, key));
  }
  return *value;
}

void Config::fail(std::string_view key, std::string_view expected) const {
  throw Error(ErrorCode::invalid_argument, fmt::format("{}: \"{}\" must be {}", state_->what, key, expected));
}

bool Config::has(std::string_view key) const {
  return find(key) != nullptr;
}
bool Config::empty() const {
  return state_->json.empty();
}

int Config::i(std::string_view key) const {
  const Json& value = require(key);
  const double number = value.is_number() ? value.get<double>() : std::nan("");
  if (!(std::fabs(number) < std::numeric_limits<int>::max()) || number != std::floor(number))
    fail(key, "a whole number");
  return static_cast<int>(number);
}

double Config::f(std::string_view key) const {
  const Json& value = require(key);
  if (!value.is_number()) fail(key, "a number");
  return value.get<double>();
}

std::string Config::s(std::string_view key) const {
  const Json& value = require(key);
  if (!value.is_string()) fail(key, "a string");
  return value.get<std::string>();
}

int Config::i_or(std::string_view key, int fallback) const {
  return has(key) ? i(key) : fallback;
}
double Config::f_or(std::string_view key, double fallback) const {
  return has(key) ? f(key) : fallback;
}
std::string Config::s_or(std::string_view key, std::string_view fallback) const {
  return has(key) ? s(key) : std::string(fallback);
}

bool Config::b_or(std::string_view key, bool fallback) const {
  const Json* value = find(key);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) fail(key, "true or false");
  return value->get<bool>();
}

std::vector<int> Config::ints_or_empty(std::string_view key) const {
  const Json* value = find(key);
  if (value == nullptr) return {};
  if (!value->is_array() || !std::ranges::all_of(*value, [](const Json& e) { return e.is_number_integer(); })) {
    fail(key, "a list of whole numbers");
  }
  return value->get<std::vector<int>>();
}

std::vector<double> Config::numbers_or_empty(std::string_view key) const {
  const Json* value = find(key);
  if (value == nullptr) return {};
  if (!value->is_array()) fail(key, "a list of numbers");
  static const Json kInfinity = {{"__float__", "Infinity"}};
  std::vector<double> numbers;
  for (const Json& element : *value) {
    if (!element.is_number() && element != kInfinity) fail(key, "a list of numbers");
    numbers.push_back(element.is_number() ? element.get<double>() : std::numeric_limits<double>::infinity());
  }
  return numbers;
}

std::vector<std::string> Config::strings_or_empty(std::string_view key) const {
  const Json* value = find(key);
  if (value == nullptr) return {};
  if (!value->is_array() || !std::ranges::all_of(*value, [](const Json& e) { return e.is_string(); })) {
    fail(key, "a list of strings");
  }
  return value->get<std::vector<std::string>>();
}

bool Config::is_object(std::string_view key) const {
  const Json* value = find(key);
  return value != nullptr && value->is_object();
}

bool Config::is_string(std::string_view key) const {
  const Json* value = find(key);
  return value != nullptr && value->is_string();
}

Config Config::object_or_empty(std::string_view key) const {
  const Json* value = find(key);
  if (value != nullptr && !value->is_object()) fail(key, "an object");
  Config nested(value == nullptr ? Json::object() : *value, fmt::format("{}: {}", state_->what, key));
  state_->objects.push_back(nested);
  return nested;
}

std::string Config::architecture() const {
  const std::vector<std::string> names = strings_or_empty("architectures");
  if (names.size() != 1) fail("architectures", "a list with exactly one name");
  return names.front();
}

std::string Config::dtype() const {
  return s_or("dtype", s_or("torch_dtype", ""));
}

void Config::ignore(std::initializer_list<std::string_view> keys) const {
  for (std::string_view key : keys) state_->known.emplace(key);
}

void Config::expect_known() const {
  std::vector<std::string> unknown;
  for (const auto& [key, value] : state_->json.items()) {
    if (!state_->known.contains(key)) unknown.push_back(key);
  }
  if (!unknown.empty()) {
    throw Error(ErrorCode::unsupported,
                fmt::format("{}: this architecture does not know \"{}\"; running it without would give wrong answers",
                            state_->what, fmt::join(unknown, "\", \"")));
  }
  for (const Config& object : state_->objects) object.expect_known();
}

}  // namespace arc
