#include "text/json_fields.h"

#include "fmt/format.h"

#include "base/error.h"

namespace arc {

JsonFields::JsonFields(const FileJson& object, std::string_view where) : object_(object), where_(where) {
  if (!object.is_object()) fail("must be an object");
}

const FileJson* JsonFields::find(const char* key) const {
  const auto it = object_.find(key);
  return it == object_.end() || it->is_null() ? nullptr : &*it;
}

const FileJson& JsonFields::at(const char* key) const {
  const FileJson* value = find(key);
  if (value == nullptr) fail(fmt::format("lacks `{}`", key));
  return *value;
}

std::string JsonFields::text(const char* key) const {
  const FileJson& value = at(key);
  if (!value.is_string()) fail(fmt::format("`{}` must be a string", key));
  return value.get<std::string>();
}

std::string JsonFields::text_or(const char* key, std::string_view fallback) const {
  return find(key) == nullptr ? std::string(fallback) : text(key);
}

bool JsonFields::flag_or(const char* key, bool fallback) const {
  const FileJson* value = find(key);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) fail(fmt::format("`{}` must be true or false", key));
  return value->get<bool>();
}

int64_t JsonFields::integer(const char* key) const {
  const FileJson& value = at(key);
  const bool fits =
      value.is_number_integer() && (!value.is_number_unsigned() || value.get<uint64_t>() <= uint64_t{INT64_MAX});
  if (!fits) fail(fmt::format("`{}` must be an integer", key));
  return value.get<int64_t>();
}

int64_t JsonFields::integer_or(const char* key, int64_t fallback) const {
  return find(key) == nullptr ? fallback : integer(key);
}

const FileJson::array_t& JsonFields::array(const char* key) const {
  const FileJson& value = at(key);
  if (!value.is_array()) fail(fmt::format("`{}` must be an array", key));
  return value.get_ref<const FileJson::array_t&>();
}

void JsonFields::check_n_steps(size_t n) const {
  constexpr size_t kMaxSteps = 128;
  if (n >= kMaxSteps) fail(fmt::format("has more than {} steps", kMaxSteps));
}

void JsonFields::fail(std::string_view what) const {
  throw Error(ErrorCode::corrupt_data, fmt::format("{} {}", where_, what));
}

void JsonFields::unsupported(std::string_view what) const {
  throw Error(ErrorCode::unsupported, fmt::format("{} {}", where_, what));
}

}  // namespace arc
