// One value of a JSON request under the name by which messages call it, and the checks that every field needs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/json.h"

namespace arc::serve {

// Parses a request's body, which must be an object. Nesting, and the work that the parser puts into looking for
// repeated keys, are bounded. Throws Error.
Json parse_body(std::string_view body);

// Each check returns the value or throws RequestError: "NAME must be RULE, not VALUE".
class Field {
 public:
  Field(std::string name, const Json& value) : name_(std::move(name)), value_(value) {}

  const std::string& name() const { return name_; }
  const Json& value() const { return value_; }

  double number(double low, double high) const;
  int64_t integer(int64_t low, int64_t high) const;
  int32_t int32(int32_t low, int32_t high) const { return static_cast<int32_t>(integer(low, high)); }
  bool boolean() const;
  const std::string& string() const;
  const Json& list(size_t max_items) const;
  const Json& object() const;

  Field operator[](size_t i) const;
  // A member of an object, which must be there.
  Field member(std::string_view key) const;

  // `rule` completes "NAME must be".
  [[noreturn]] void reject(std::string_view rule) const;
  // For what is understood but not offered; `message` is the whole text.
  [[noreturn]] void reject_unsupported(std::string_view message) const;

 private:
  std::string name_;
  const Json& value_;
};

}  // namespace arc::serve
