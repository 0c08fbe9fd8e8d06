// What templates can call: filters, tests, global functions and the methods of built-in types.
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

#include "text/jinja_ast.h"
#include "text/jinja_value.h"

namespace arc::jinja {

// What a method of a markup text does about escaping.
enum class MarkupRule : uint8_t {
  plain,   // as for any text
  mark,    // the result is markup
  escape,  // the arguments are escaped, and the result is markup
};

struct Method {
  std::string_view name;
  Value (*code)(Renderer&, const Value& self, const CallArgs&) = nullptr;
  MarkupRule markup = MarkupRule::plain;
};

// Null when there is none of that name.
FilterFunction find_filter(std::string_view name);
TestFunction find_test(std::string_view name);
FilterFunction find_sequence_filter(std::string_view name);  // the part of find_filter in jinja_sequence_filters.cc

// A method of a str, list, tuple, dict or float as a callable. Those that would change the object are undefined.
std::optional<Value> find_method(const Value& self, std::string_view name);
const Method* find_text_method(std::string_view name);

// `range`, `dict`, `namespace`, `cycler`, `joiner`, `raise_exception`, `strftime_now`.
std::optional<Value> find_global(std::string_view name);

// A call's arguments by the names of its parameters. Too many, unknown, doubled or (of the first `required`) missing
// ones fail. A parameter named "" can be given by position only. Refers to `args`.
class Bound {
 public:
  Bound(std::string_view function, const CallArgs& args, std::initializer_list<std::string_view> names,
        size_t required = 0);
  Bound(std::string_view, CallArgs&&, std::initializer_list<std::string_view>, size_t = 0) = delete;

  const Value* find(size_t i) const { return values_[i]; }
  bool has(size_t i) const { return values_[i] != nullptr; }
  const Value& operator[](size_t i) const { return *values_[i]; }

  // The argument as this type, or `fallback` when it is absent.
  int64_t integer(size_t i, int64_t fallback) const;
  bool truth(size_t i, bool fallback) const { return has(i) ? values_[i]->truth() : fallback; }
  const std::string& text(size_t i) const;  // fails for what is no text

 private:
  std::string_view function_;
  std::vector<const Value*> values_;
};

}  // namespace arc::jinja
