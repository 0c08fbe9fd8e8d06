// Which bytes of a text the template wrote and which came with the request, kept through what templates do to texts.
// Only the template's own bytes may become special tokens, so everything that loses track counts as the request's.
#pragma once

#include <string>
#include <string_view>

#include "text/byte_range.h"
#include "text/jinja_value.h"

namespace arc::jinja {

// Joins texts.
class TextBuilder {
 public:
  size_t size() const { return bytes_.size(); }
  void append_written(std::string_view text) { bytes_ += text; }
  void append(const Value& text) { append(text, text.text()); }
  // `part` is a view into the bytes of `text`.
  void append(const Value& text, std::string_view part);

  Value take(bool markup = false);
  std::string take_bytes() { return std::move(bytes_); }
  const ByteRanges& from_request() const { return from_request_; }

 private:
  std::string bytes_;
  ByteRanges from_request_;
};

// A part of a text, given as a view into its bytes. Markup stays markup.
Value part_of_text(const Value& text, std::string_view part);

// The same text as markup.
Value as_markup(const Value& text);

// str(value), with the origin of what is a text already. Numbers, True and None count as written by the template.
Value text_of(Budget& budget, const Value& value);

// `result` of a function that keeps track of nothing: written by the template when all texts that went in were.
Value with_origin_of(const CallArgs& args, Value result);

}  // namespace arc::jinja
