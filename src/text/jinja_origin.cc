#include "text/jinja_origin.h"

#include <algorithm>

#include "text/jinja_print.h"

namespace arc::jinja {
namespace {

// Holds nothing that came with the request. Containers are not searched.
bool is_written(const Value& value) {
  if (value.is_text()) return value.as_text().origin == Origin::chat_template;
  return !value.is_sequence() && !value.is_dict() && !value.object();
}

}  // namespace

void TextBuilder::append(const Value& text, std::string_view part) {
  const Text& source = text.as_text();
  const size_t begin = static_cast<size_t>(part.data() - source.bytes->data());
  const size_t at = bytes_.size();
  if (source.origin == Origin::request) append_range(from_request_, at, at + part.size());
  if (source.origin == Origin::both) {
    for (const ByteRange& range : ranges_within(*source.from_request, begin, begin + part.size())) {
      append_range(from_request_, at + range.begin, at + range.end);
    }
  }
  bytes_ += part;
}

Value TextBuilder::take(bool markup) {
  Text text{.markup = markup, .origin = Origin::both};
  if (from_request_.empty()) {
    text.origin = Origin::chat_template;
  } else if (from_request_.front() == ByteRange{0, bytes_.size()}) {
    text.origin = Origin::request;
  } else {
    text.from_request = std::make_shared<const ByteRanges>(std::move(from_request_));
  }
  text.bytes = std::make_shared<const std::string>(std::move(bytes_));
  return text;
}

Value part_of_text(const Value& text, std::string_view part) {
  TextBuilder builder;
  builder.append(text, part);
  return builder.take(text.is_markup());
}

Value as_markup(const Value& text) {
  Text copy = text.as_text();
  copy.markup = true;
  return copy;
}

Value text_of(Budget& budget, const Value& value) {
  if (value.is_text()) {
    budget.spend_text(value.text().size());
    return value;
  }
  std::string text = str(budget, value);
  return is_written(value) ? Value::written(std::move(text)) : Value(std::move(text));
}

Value with_origin_of(const CallArgs& args, Value result) {
  if (!result.is_text() || result.as_text().origin != Origin::request) return result;
  const bool written = std::ranges::all_of(args.positional, is_written) &&
                       std::ranges::all_of(args.named, [](const auto& named) { return is_written(named.second); });
  if (!written) return result;
  Text copy = result.as_text();
  copy.origin = Origin::chat_template;
  return copy;
}

}  // namespace arc::jinja
