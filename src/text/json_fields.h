// Typed access to the fields of a tokenizer file. Every error names the file's part and the field.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "nlohmann/json.hpp"

namespace arc {

// Objects are sorted maps here: the order of keys means nothing in these files, and looking up stays cheap however many
// keys a hostile file has.
using FileJson = nlohmann::json;

// One object and its name in messages ("tokenizer.json: normalizer"). Absent fields and null give the fallback; a field
// of the wrong type throws Error(corrupt_data).
class JsonFields {
 public:
  JsonFields(const FileJson& object, std::string_view where);

  const FileJson* find(const char* key) const;  // null when absent or null
  const FileJson& at(const char* key) const;    // throws when absent or null

  std::string text(const char* key) const;
  std::string text_or(const char* key, std::string_view fallback) const;
  bool flag_or(const char* key, bool fallback) const;
  int64_t integer(const char* key) const;
  int64_t integer_or(const char* key, int64_t fallback) const;
  const FileJson::array_t& array(const char* key) const;

  // Throws when a list of steps has reached its limit: each takes memory, and time with every text.
  void check_n_steps(size_t n) const;

  const std::string& where() const { return where_; }
  [[noreturn]] void fail(std::string_view what) const;         // Error(corrupt_data)
  [[noreturn]] void unsupported(std::string_view what) const;  // Error(unsupported)

 private:
  const FileJson& object_;
  std::string where_;
};

}  // namespace arc
