// Reads a model's config.json and remembers which keys were understood, so that no unknown key is passed over in
// silence.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"

namespace arc {

// Key look-ups mark the key as understood. A missing key, a wrong type or a number out of range is an Error that names
// the key. Keys with value null count as absent. Copies share the set of understood keys.
class Config {
 public:
  // `what` names the document in messages. A nested `text_config` is laid over the top-level keys.
  explicit Config(const Json& json, std::string what = "config.json");

  bool has(std::string_view key) const;
  int i(std::string_view key) const;
  int i_or(std::string_view key, int fallback) const;
  double f(std::string_view key) const;
  double f_or(std::string_view key, double fallback) const;
  bool b_or(std::string_view key, bool fallback) const;
  std::string s(std::string_view key) const;
  std::string s_or(std::string_view key, std::string_view fallback) const;
  std::vector<int> ints_or_empty(std::string_view key) const;
  // transformers' spelling of infinity, {"__float__": "Infinity"}, is a number too.
  std::vector<double> numbers_or_empty(std::string_view key) const;
  std::vector<std::string> strings_or_empty(std::string_view key) const;
  // The object under `key`; empty when absent. Its keys are checked by expect_known() too.
  Config object_or_empty(std::string_view key) const;
  bool is_object(std::string_view key) const;
  bool is_string(std::string_view key) const;
  bool empty() const;

  // The names under `architectures` (one is expected), and the dtype under `dtype` or `torch_dtype` ("" when absent).
  std::string architecture() const;
  std::string dtype() const;

  // Marks keys that this family knows to carry no mathematics.
  void ignore(std::initializer_list<std::string_view> keys) const;

  // Throws Error(unsupported) that lists the keys which nothing understood.
  void expect_known() const;

 private:
  struct State;
  Config(std::shared_ptr<State> state) : state_(std::move(state)) {}
  const Json* find(std::string_view key) const;
  const Json& require(std::string_view key) const;
  [[noreturn]] void fail(std::string_view key, std::string_view expected) const;

  std::shared_ptr<State> state_;
};

}  // namespace arc
