// JSON read as a stream of events, for documents of a fixed form: no tree is built, so time and memory stay linear in
// what the reader keeps, whatever the document contains.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "fmt/format.h"
#include "nlohmann/json.hpp"

namespace arc {

// Refuses every event; a reader overrides those that its document may contain.
class JsonEvents : public nlohmann::json_sax<nlohmann::json> {
 public:
  // Throws what `fail` throws where `text` is not JSON, or not the JSON that the reader expects.
  void read(std::string_view text) {
    if (const size_t nul = text.find('\0'); nul != text.npos) broken_at(nul);  // the lexer would stop there, content
    nlohmann::json::sax_parse(text, this);
  }

  bool null() override { return refuse("null"); }
  bool boolean(bool) override { return refuse("true or false"); }
  bool number_integer(int64_t) override { return refuse("a negative number"); }
  bool number_unsigned(uint64_t) override { return refuse("a number"); }
  bool number_float(double, const std::string&) override { return refuse("a number that is no 64-bit integer"); }
  bool string(std::string&) override { return refuse("a string"); }
  bool binary(binary_t&) override { return refuse("binary data"); }
  bool start_object(size_t) override { return refuse("an object"); }
  bool key(std::string&) override { return refuse("a key"); }
  bool end_object() override { return refuse("the end of an object"); }
  bool start_array(size_t) override { return refuse("an array"); }
  bool end_array() override { return refuse("the end of an array"); }
  bool parse_error(size_t position, const std::string&, const nlohmann::json::exception&) final {
    return broken_at(position);
  }

 protected:
  // Throws Error; its message names the document.
  virtual bool fail(const std::string& problem) const = 0;
  // Throws Error because of an event that does not belong where the reader is.
  virtual bool refuse(std::string_view event) const = 0;

 private:
  bool broken_at(size_t position) const { return fail(fmt::format("broken JSON at byte {}", position)); }
};

}  // namespace arc
