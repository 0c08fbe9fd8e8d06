// Filters of single values: texts, numbers, JSON.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include "base/utf8.h"
#include "text/jinja_arith.h"
#include "text/jinja_format.h"
#include "text/jinja_functions.h"
#include "text/jinja_objects.h"
#include "text/jinja_print.h"
#include "text/jinja_renderer.h"
#include "text/jinja_text.h"
#include "text/jinja_unicode.h"

namespace arc::jinja {
namespace {

// str(subject).method(...), in which markup stays markup.
Value text_method(Renderer& renderer, std::string_view name, const Value& subject, Values arguments = {}) {
  return BoundMethod(text_of(renderer.budget(), subject), *find_text_method(name))
      .call(renderer, {.positional = std::move(arguments)});
}

Value absolute(Renderer&, const CallArgs& args) {
  const Bound bound("abs", args, {""}, 1);
  if (bound[0].is_float()) return std::fabs(bound[0].floating());
  if (!bound[0].is_integral()) fail("bad operand type for abs(): '{}'", bound[0].type_name());
  return with_sign(bound[0], bound[0].integer() < 0);
}

// A method or property, never an item.
Value attr(Renderer&, const CallArgs& args) {
  const Bound bound("attr", args, {"obj", "name"}, 2);
  const Value& object = bound[0];
  const std::string& name = bound.text(1);
  if (object.is_undefined()) throw Failure{object.as_undefined().message};
  const auto found = object.object() ? (*object.object())->attribute(name) : find_method(object, name);
  if (found) return *found;
  return Value::undefined(fmt::format("'{} object' has no attribute '{}'", object.type_name(), name));
}

Value capitalize(Renderer& renderer, const CallArgs& args) {
  const Bound bound("capitalize", args, {"s"}, 1);
  return text_method(renderer, "capitalize", bound[0]);
}

Value center(Renderer& renderer, const CallArgs& args) {
  const Bound bound("center", args, {"value", "width"}, 1);
  return text_method(renderer, "center", bound[0], {bound.integer(1, 80)});
}

Value default_value(Renderer&, const CallArgs& args) {
  const Bound bound("default", args, {"value", "default_value", "boolean"}, 1);
  const bool replaced = bound[0].is_undefined() || (bound.truth(2, false) && !bound[0].truth());
  if (!replaced) return bound[0];
  return bound.has(1) ? bound[1] : Value("");
}

Value escape(Renderer& renderer, const CallArgs& args) {
  const Bound bound("escape", args, {""}, 1);
  if (bound[0].is_markup()) return bound[0];
  return Value(escape_html(renderer.str(bound[0])), true);
}

Value force_escape(Renderer& renderer, const CallArgs& args) {
  const Bound bound("forceescape", args, {"value"}, 1);
  return Value(escape_html(renderer.str(bound[0])), true);
}

// Digits with single underscores between them, as Python's number parsers allow. Empty when that is not the form.
std::string plain_digits(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_') {
      out += text[i];
      continue;
    }
    const auto is_digit_at = [&](size_t at) {
      return at < text.size() && std::isalnum(static_cast<uint8_t>(text[at]));
    };
    if (i == 0 || !is_digit_at(i - 1) || !is_digit_at(i + 1)) return {};
  }
  return out;
}

std::optional<double> parse_float(std::string_view text) {
  std::string digits = plain_digits(strip_text(text, std::nullopt, true, true));
  const bool negative = digits.starts_with('-');
  if (negative || digits.starts_with('+')) digits.erase(0, 1);
  std::ranges::transform(digits, digits.begin(),
                         [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  double value = 0;
  if (digits == "inf" || digits == "infinity") {
    value = std::numeric_limits<double>::infinity();
  } else if (digits == "nan") {
    value = std::numeric_limits<double>::quiet_NaN();
  } else {
    if (digits.empty() || digits.find_first_not_of("0123456789.e+-") != std::string::npos) return std::nullopt;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (error == std::errc::invalid_argument || end != digits.data() + digits.size()) return std::nullopt;
    if (error == std::errc::result_out_of_range) {
      const size_t e = digits.find('e');
      const bool tiny = e != std::string::npos && digits[e + 1] == '-';
      value = tiny ? 0 : std::numeric_limits<double>::infinity();
    }
  }
  return negative ? -value : value;
}

// int(text, base); base 0 reads the prefix.
std::optional<int64_t> parse_integer(std::string_view text, int64_t base) {
  if (base != 0 && (base < 2 || base > 36)) return std::nullopt;
  text = strip_text(text, std::nullopt, true, true);
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);
  const char letter = text.size() > 2 && text[0] == '0' ? static_cast<char>(text[1] | 0x20) : '\0';
  const int64_t prefix = letter == 'x' ? 16 : letter == 'o' ? 8 : letter == 'b' ? 2 : 0;
  if (prefix != 0 && (base == 0 || base == prefix)) {
    base = prefix;
    text.remove_prefix(text[2] == '_' ? 3 : 2);
  } else if (base == 0) {
    base = 10;
    if (text.size() > 1 && text[0] == '0' && text.find_first_not_of("0_") != std::string_view::npos)
      return std::nullopt;
  }
  const std::string digits = plain_digits(text);
  uint64_t size = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), size, static_cast<int>(base));
  if (error == std::errc::invalid_argument || end != digits.data() + digits.size()) return std::nullopt;
  const uint64_t limit = static_cast<uint64_t>(INT64_MAX) + negative;
  if (error != std::errc() || size > limit) fail("an integer does not fit in 64 bits");
  return static_cast<int64_t>(negative ? -size : size);
}

Value to_integer(Renderer&, const CallArgs& args) {
  const Bound bound("int", args, {"value", "default", "base"}, 1);
  const Value& value = bound[0];
  const Value fallback = bound.has(1) ? bound[1] : Value(0);
  if (value.is_undefined()) throw Failure{value.as_undefined().message};
  if (value.is_integral()) return value.integer();
  if (value.is_float()) return std::isnan(value.floating()) ? fallback : Value(truncate_float(value.floating()));
  if (!value.is_text()) return fallback;
  if (const auto number = parse_integer(value.text(), bound.integer(2, 10))) return *number;
  const auto number = parse_float(value.text());
  return number && std::isfinite(*number) ? Value(truncate_float(*number)) : fallback;
}

Value to_float(Renderer&, const CallArgs& args) {
  const Bound bound("float", args, {"value", "default"}, 1);
  const Value& value = bound[0];
  if (value.is_undefined()) throw Failure{value.as_undefined().message};
  if (value.is_number()) return value.floating();
  if (value.is_text()) {
    if (const auto number = parse_float(value.text())) return *number;
  }
  return bound.has(1) ? bound[1] : Value(0.0);
}

Value format(Renderer& renderer, const CallArgs& args) {
  if (args.positional.size() > 1 && !args.named.empty()) {
    fail("can't handle positional and keyword arguments at the same time");
  }
  const Value text = text_of(renderer.budget(), args.positional[0]);
  if (args.named.empty()) {
    return percent_format(renderer, text, Value::tuple({args.positional.begin() + 1, args.positional.end()}));
  }
  Dict named;
  for (const auto& [name, value] : args.named) named.set(renderer.budget(), name, value);
  return percent_format(renderer, text, named);
}

Value indent(Renderer& renderer, const CallArgs& args) {
  const Bound bound("indent", args, {"s", "width", "first", "blank"}, 1);
  const Value& text = bound[0];
  if (text.is_undefined()) throw Failure{text.as_undefined().message};
  if (!text.is_text()) fail("indent needs a str, not {}", text.type_name());
  const bool wide = bound.has(1) && !bound[1].is_text();
  const int64_t width = wide ? bound.integer(1, 4) : 4;
  renderer.check_text(static_cast<size_t>(std::max<int64_t>(width, 0)));
  const Value indention = bound.has(1) && !wide
                              ? bound[1]
                              : Value::written(std::string(static_cast<size_t>(std::max<int64_t>(width, 0)), ' '));
  renderer.budget().spend_text(text.text().size());
  const std::string closed = text.text() + "\n";
  const auto lines = split_lines(closed, false);
  TextBuilder out;
  if (bound.truth(2, false)) renderer.append(out, indention);
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) out.append_written("\n");
    if (i > 0 && (bound.truth(3, false) || !lines[i].empty())) renderer.append(out, indention);
    out.append(text, std::string_view(text.text()).substr(lines[i].data() - closed.data(), lines[i].size()));
    renderer.check_text(out.size());
  }
  renderer.budget().spend_text(out.size());
  return out.take(text.is_markup());
}

Value length(Renderer& renderer, const CallArgs& args) {
  const Bound bound("length", args, {""}, 1);
  if (bound[0].is_text()) renderer.budget().spend_text(bound[0].text().size());
  return length_of(bound[0]);
}

Value lower(Renderer& renderer, const CallArgs& args) {
  const Bound bound("lower", args, {"s"}, 1);
  return text_method(renderer, "lower", bound[0]);
}

Value upper(Renderer& renderer, const CallArgs& args) {
  const Bound bound("upper", args, {"s"}, 1);
  return text_method(renderer, "upper", bound[0]);
}

Value replace(Renderer& renderer, const CallArgs& args) {
  const Bound bound("replace", args, {"s", "old", "new", "count"}, 3);
  const bool all = !bound.has(3) || bound[3].is_none();
  Text subject = renderer.text_of(bound[0]).as_text();
  subject.markup = false;
  return text_method(renderer, "replace", std::move(subject),
                     {renderer.text_of(bound[1]), renderer.text_of(bound[2]), all ? -1 : bound.integer(3, -1)});
}

Value round(Renderer&, const CallArgs& args) {
  const Bound bound("round", args, {"value", "precision", "method"}, 1);
  const int64_t precision = bound.integer(1, 0);
  const std::string method = bound.has(2) ? bound.text(2) : "common";
  if (method != "common" && method != "ceil" && method != "floor") fail("method must be common, ceil or floor");
  if (!bound[0].is_number()) fail("type {} doesn't define __round__ method", bound[0].type_name());
  if (method == "common") return round_number(bound[0], precision);
  const double scale = std::pow(10.0, static_cast<double>(precision));
  const double scaled = bound[0].floating() * scale;
  if (!std::isfinite(scaled)) fail("cannot round {}", float_repr(scaled));
  return (method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / scale;
}

Value safe(Renderer& renderer, const CallArgs& args) {
  const Bound bound("safe", args, {"value"}, 1);
  return as_markup(renderer.text_of(bound[0]));
}

Value string(Renderer& renderer, const CallArgs& args) {
  const Bound bound("string", args, {""}, 1);
  return renderer.text_of(bound[0]);
}

// Words start after white space and after - ( { [ <.
Value title(Renderer& renderer, const CallArgs& args) {
  const Bound bound("title", args, {"s"}, 1);
  const std::string text = renderer.str(bound[0]);
  const auto splits = [](char32_t c) {
    return is_space(c) || (c < 0x80 && std::string_view("-({[<").find(static_cast<char>(c)) != std::string_view::npos);
  };
  std::string out;
  for (size_t start = 0; start < text.size();) {
    size_t end = start, first_end = 0;
    const bool separator = splits(utf8_decode(text, end));
    first_end = end;
    for (size_t next = end; next < text.size() && splits(utf8_decode(text, next)) == separator;) end = next;
    out += upper_text(std::string_view(text).substr(start, first_end - start));
    out += lower_text(std::string_view(text).substr(first_end, end - first_end));
    start = end;
  }
  renderer.budget().spend_text(out.size());
  return out;
}

// transformers' tojson: json.dumps, nothing escaped for HTML.
Value tojson(Renderer& renderer, const CallArgs& args) {
  const Bound bound("tojson", args, {"x", "ensure_ascii", "indent", "separators", "sort_keys"}, 1);
  JsonStyle style{.ascii_only = bound.truth(1, false), .sort_keys = bound.truth(4, false)};
  if (bound.has(2) && !bound[2].is_none()) {
    const bool text = bound[2].is_text();
    const int64_t width = text ? 0 : std::max<int64_t>(bound.integer(2, 0), 0);
    if (width > 1000) fail("tojson: the indent is too wide");
    style.indent = text ? bound[2].text() : std::string(static_cast<size_t>(width), ' ');
    style.item_separator = ",";
  }
  if (bound.has(3) && !bound[3].is_none()) {
    const Items items = items_of(renderer.budget(), bound[3]);
    if (items.size() != 2 || !items[0].is_text() || !items[1].is_text()) fail("tojson: separators must be two texts");
    style.item_separator = items[0].text();
    style.key_separator = items[1].text();
  }
  std::string out = to_json(renderer.budget(), bound[0], style);
  renderer.check_text(out.size());
  return out;
}

Value trim(Renderer& renderer, const CallArgs& args) {
  const Bound bound("trim", args, {"value", "chars"}, 1);
  return text_method(renderer, "strip", bound[0], {bound.has(1) ? bound[1] : Value()});
}

Value truncate(Renderer& renderer, const CallArgs& args) {
  const Bound bound("truncate", args, {"s", "length", "killwords", "end", "leeway"}, 1);
  const int64_t limit = bound.integer(1, 255);
  const Value end = bound.has(3) ? bound[3] : Value::written("...");
  const int64_t leeway = bound.has(4) && !bound[4].is_none() ? bound.integer(4, 5) : 5;
  const int64_t kept = limit - length_of(end);
  if (kept < 0 || leeway < 0) fail("truncate: length and leeway leave no room");
  if (bound[0].is_text()) renderer.budget().spend_text(bound[0].text().size());
  if (length_of(bound[0]) - leeway <= limit) return bound[0];
  if (!bound[0].is_text()) fail("truncate needs a str, not {}", bound[0].type_name());
  std::string_view text = bound[0].text();
  text = text.substr(0, byte_of(text, static_cast<size_t>(kept)));
  if (!bound.truth(2, false)) text = split_at(text, " ", 1, true)[0];
  TextBuilder out;
  out.append(bound[0], text);
  out.append(end);
  return out.take(bound[0].is_markup());
}

std::string percent_encode(std::string_view text, bool in_query) {
  std::string out;
  for (const char c : text) {
    const bool plain =
        std::isalnum(static_cast<uint8_t>(c)) || std::string_view("_.-~").find(c) != std::string_view::npos;
    if (plain || (c == '/' && !in_query)) {
      out += c;
    } else {
      out += c == ' ' && in_query ? "+" : fmt::format("%{:02X}", static_cast<uint8_t>(c));
    }
  }
  return out;
}

Value urlencode(Renderer& renderer, const CallArgs& args) {
  const Bound bound("urlencode", args, {"value"}, 1);
  const Value& value = bound[0];
  if (value.is_text() || !is_iterable(value)) return percent_encode(renderer.str(value), false);
  const Value pairs = value.is_dict() ? Value(std::make_shared<DictView>(value, DictView::Part::items)) : value;
  std::string out;
  for (const Value& pair : items_of(renderer.budget(), pairs)) {
    const auto parts = items_of(renderer.budget(), pair);
    if (parts.size() != 2) fail("urlencode needs pairs");
    if (!out.empty()) out += '&';
    out += percent_encode(renderer.str(parts[0]), true) + "=" + percent_encode(renderer.str(parts[1]), true);
    renderer.check_text(out.size());
  }
  return out;
}

Value word_count(Renderer& renderer, const CallArgs& args) {
  const Bound bound("wordcount", args, {"s"}, 1);
  const std::string text = renderer.str(bound[0]);
  int64_t count = 0;
  bool in_word = false;
  for (size_t i = 0; i < text.size();) {
    const char32_t c = utf8_decode(text, i);
    const bool word = c == '_' || is_alpha(c) || is_numeric(c);
    count += word && !in_word;
    in_word = word;
  }
  return count;
}

struct Filter {
  std::string_view name;
  FilterFunction function = nullptr;
};

constexpr Filter kFilters[] = {
    {"abs", absolute},
    {"attr", attr},
    {"capitalize", capitalize},
    {"center", center},
    {"count", length},
    {"d", default_value},
    {"default", default_value},
    {"e", escape},
    {"escape", escape},
    {"float", to_float},
    {"forceescape", force_escape},
    {"format", format},
    {"indent", indent},
    {"int", to_integer},
    {"length", length},
    {"lower", lower},
    {"replace", replace},
    {"round", round},
    {"safe", safe},
    {"string", string},
    {"title", title},
    {"tojson", tojson},
    {"trim", trim},
    {"truncate", truncate},
    {"upper", upper},
    {"urlencode", urlencode},
    {"wordcount", word_count},
};

}  // namespace

FilterFunction find_filter(std::string_view name) {
  const auto* it = std::ranges::find(kFilters, name, &Filter::name);
  return it != std::end(kFilters) ? it->function : find_sequence_filter(name);
}

}  // namespace arc::jinja
