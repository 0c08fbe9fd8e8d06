#include "text/jinja_format.h"

#include <charconv>
#include <optional>

#include "base/utf8.h"
#include "text/jinja_arith.h"
#include "text/jinja_format_spec.h"
#include "text/jinja_print.h"
#include "text/jinja_text.h"

namespace arc::jinja {
namespace {

class PercentFormatter {
 public:
  PercentFormatter(Renderer& renderer, const Value& format, const Value& args)
      : renderer_(renderer), text_(format.text()), markup_(format.is_markup()), args_(args) {}

  Value run() {
    while (at_ < text_.size()) {
      const size_t percent = std::min(text_.find('%', at_), text_.size());
      out_ += text_.substr(at_, percent - at_);
      at_ = percent + 1;
      if (percent < text_.size()) convert();
      renderer_.check_text(out_.size());
    }
    // Whatever can be subscripted may go unused.
    const bool is_mapping = args_.is_dict() || args_.is_list() || args_.is_undefined();
    const size_t given = args_.is_tuple() ? args_.sequence().items.size() : 1;
    if (used_ < given && !is_mapping) fail("not all arguments converted during string formatting");
    renderer_.budget().spend_text(out_.size());
    return Value(std::move(out_), markup_);
  }

 private:
  char peek() const {
    if (at_ >= text_.size()) fail("incomplete format");
    return text_[at_];
  }

  Value next_argument() {
    if (args_.is_tuple()) {
      if (used_ >= args_.sequence().items.size()) fail("not enough arguments for format string");
      return args_.sequence().items[used_++];
    }
    if (used_++ > 0) fail("not enough arguments for format string");
    return args_;
  }

  int64_t number_or_star() {
    if (peek() == '*') {
      ++at_;
      const Value value = next_argument();
      if (!value.is_integral()) fail("* wants int");
      return value.integer();
    }
    int64_t number = 0;
    for (; peek() >= '0' && peek() <= '9'; ++at_) number = std::min<int64_t>(number * 10 + (peek() - '0'), 1 << 30);
    return number;
  }

  // Reads one conversion after its "%".
  void convert() {
    std::optional<Value> named;
    if (peek() == '(') named = by_name();
    FormatSpec spec;
    for (; std::string_view("-+ #0").find(peek()) != std::string_view::npos; ++at_) apply_flag(spec);
    spec.width = number_or_star();
    if (spec.width < 0) spec.align = '<';
    spec.width = spec.width < 0 ? -spec.width : spec.width;
    if (peek() == '.') {
      ++at_;
      spec.precision = std::max<int64_t>(number_or_star(), 0);
    }
    while (peek() == 'h' || peek() == 'l' || peek() == 'L') ++at_;
    if (spec.width > 1 << 20 || spec.precision > 400) fail("a width or precision of a format is too large");
    const char type = peek();
    ++at_;
    if (type == '%') {
      out_ += '%';
      return;
    }
    append(type, spec, named ? *named : next_argument());
  }

  Value by_name() {
    int depth = 0;
    const size_t start = at_ + 1;
    do {
      depth += peek() == '(' ? 1 : peek() == ')' ? -1 : 0;
      ++at_;
    } while (depth > 0);
    if (!args_.is_dict()) fail("format requires a mapping");
    const std::string_view name = text_.substr(start, at_ - 1 - start);
    const Value* value = args_.dict().find(name);
    if (value == nullptr) fail("{}", text_repr(name));
    return *value;
  }

  void apply_flag(FormatSpec& spec) const {
    switch (peek()) {
      case '-':
        spec.align = '<';
        break;
      case '0':
        spec.fill = "0";
        break;
      case '#':
        spec.alternate = true;
        break;
      default:
        if (spec.sign != '+') spec.sign = peek();
    }
  }

  void append(char type, FormatSpec spec, const Value& value) {
    if (type == 's' || type == 'r') {
      spec.fill = " ";
      std::string text = type == 's' ? renderer_.str(value) : repr(renderer_.budget(), value);
      if (markup_ && !value.is_markup()) text = escape_html(text);
      if (spec.align == 0) spec.align = '>';
      out_ += format_text(text, spec);
      return;
    }
    if (type == 'c') return append_character(spec, value);
    if (value.is_undefined()) throw Failure{value.as_undefined().message};
    if (!value.is_number()) fail("%{} format: a real number is required, not {}", type, value.type_name());
    if (spec.fill == "0" && spec.align == 0) spec.align = '=';
    if (spec.align == '<') spec.fill = " ";
    spec.type = type;
    if (std::string_view("eEfFgG").find(type) != std::string_view::npos) {
      out_ += format_float(value.floating(), spec);
      return;
    }
    const bool decimal = type == 'd' || type == 'i' || type == 'u';
    if (!decimal && type != 'x' && type != 'X' && type != 'o') fail("unsupported format character '{}'", type);
    if (!decimal && value.is_float()) fail("%{} format: an integer is required, not float", type);
    if (decimal) spec.type = 'd';
    if (spec.precision > 0) fail("a precision for an integer is not supported");
    out_ += format_integer(value.is_float() ? truncate_float(value.floating()) : value.integer(), spec);
  }

  void append_character(FormatSpec spec, const Value& value) {
    std::string text;
    if (value.is_integral()) {
      const int64_t c = value.integer();
      if (c < 0 || c > 0x10FFFF || (c >= 0xD800 && c < 0xE000)) fail("%c arg not in range(0x110000)");
      utf8_append(text, static_cast<char32_t>(c));
    } else if (value.is_text() && count_code_points(value.text()) == 1) {
      text = value.text();
    } else {
      fail("%c requires int or char");
    }
    spec.fill = " ";
    if (spec.align == 0) spec.align = '>';
    out_ += format_text(text, spec);
  }

  Renderer& renderer_;
  std::string_view text_;
  bool markup_;
  const Value& args_;
  size_t at_ = 0;
  size_t used_ = 0;
  std::string out_;
};

class BraceFormatter {
 public:
  BraceFormatter(Renderer& renderer, const CallArgs& args, bool markup)
      : renderer_(renderer), args_(args), markup_(markup) {}

  std::string run(std::string_view text, int depth) {
    if (depth < 0) fail("Max string recursion exceeded");
    std::string out;
    for (size_t at = 0; at < text.size();) {
      const char c = text[at++];
      const bool doubled = at < text.size() && text[at] == c;
      if (c != '{' && c != '}') {
        out += c;
      } else if (doubled) {
        out += c;
        ++at;
      } else if (c == '}') {
        fail("Single '}}' encountered in format string");
      } else {
        out += field(take_field(text, at), depth);
      }
      renderer_.check_text(out.size());
    }
    return out;
  }

 private:
  // The text between braces; moves past the closing one.
  static std::string_view take_field(std::string_view text, size_t& at) {
    const size_t start = at;
    for (int open = 1; at < text.size(); ++at) {
      open += text[at] == '{' ? 1 : text[at] == '}' ? -1 : 0;
      if (open == 0) return text.substr(start, at++ - start);
    }
    fail("expected '}}' before end of string");
  }

  std::string field(std::string_view text, int depth) {
    const size_t name_end = std::min(text.find_first_of("!:"), text.size());
    Value value = lookup(text.substr(0, name_end));
    text.remove_prefix(name_end);
    if (text.starts_with('!')) {
      if (text.size() < 2 || (text[1] != 's' && text[1] != 'r')) fail("Unknown conversion specifier");
      value = text[1] == 'r' ? Value(repr(renderer_.budget(), value)) : text_of(renderer_.budget(), value);
      text.remove_prefix(2);
      if (!text.empty() && text[0] != ':') fail("expected ':' after conversion specifier");
    }
    const std::string spec = text.empty() ? std::string() : run(text.substr(1), depth - 1);
    std::string out = format(value, spec);
    renderer_.budget().spend_text(out.size());
    return markup_ && !value.is_markup() ? escape_html(out) : out;
  }

  std::string format(const Value& value, const std::string& spec_text) {
    if (spec_text.empty()) return renderer_.str(value);
    const FormatSpec spec = parse_format_spec(spec_text);
    if (value.is_text()) return format_text(value.text(), spec);
    if (value.is_float()) return format_float(value.floating(), spec);
    if (!value.is_integral()) fail("unsupported format string passed to {}.__format__", value.type_name());
    if (spec.precision >= 0 && std::string_view("eEfFgG%").find(spec.type) == std::string_view::npos) {
      fail("Precision not allowed in integer format specifier");
    }
    return format_integer(value.integer(), spec);
  }

  // A whole decimal number, or nothing.
  static std::optional<int64_t> index_of(std::string_view text) {
    int64_t index = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), index);
    const bool whole = !text.empty() && text[0] != '-' && end == text.data() + text.size() && error == std::errc();
    return whole ? std::optional(index) : std::nullopt;
  }

  // The argument `first.attribute[item]...` that a field names.
  Value lookup(std::string_view path) {
    const size_t end = std::min(path.find_first_of(".["), path.size());
    const bool bare = end == path.size();
    if (bare && (path.empty() || index_of(path))) number_field(path.empty());
    Value value = bare && path.empty() ? positional(next_++) : argument(path.substr(0, end));
    path.remove_prefix(end);
    while (!path.empty()) {
      const bool is_item = path[0] == '[';
      if (!is_item && path[0] != '.') fail("Only '.' or '[' may follow ']' in format field specifier");
      const size_t stop = is_item ? path.find(']') : std::min(path.find_first_of(".[", 1), path.size());
      if (stop == std::string_view::npos) fail("Missing ']' in format string");
      const std::string_view key = path.substr(1, stop - 1);
      if (key.empty()) fail("Empty attribute in format string");
      const auto index = index_of(key);
      value = !is_item ? renderer_.attribute(value, std::string(key))
                       : renderer_.item(value, index ? Value(*index) : Value(key));
      path.remove_prefix(std::min(stop + is_item, path.size()));
    }
    return value;
  }

  // "{}" and "{0}" do not go together.
  void number_field(bool automatic) {
    const Numbering wanted = automatic ? Numbering::automatic : Numbering::manual;
    if (numbering_ == Numbering::none) numbering_ = wanted;
    if (numbering_ != wanted) fail("cannot switch between manual and automatic field numbering");
  }

  Value positional(size_t i) const {
    if (i >= args_.positional.size()) fail("Replacement index {} out of range for positional args tuple", i);
    return args_.positional[i];
  }

  Value argument(std::string_view name) const {
    if (const auto index = index_of(name)) return positional(static_cast<size_t>(*index));
    for (const auto& [key, value] : args_.named) {
      if (key == name) return value;
    }
    fail("{}", text_repr(name));
  }

  Renderer& renderer_;
  const CallArgs& args_;
  bool markup_;
  enum class Numbering { none, automatic, manual } numbering_ = Numbering::none;
  size_t next_ = 0;
};

}  // namespace

Value percent_format(Renderer& renderer, const Value& format, const Value& args) {
  return PercentFormatter(renderer, format, args).run();
}

Value brace_format(Renderer& renderer, const Value& format, const CallArgs& args) {
  constexpr int kMaxFields = 2;  // a field and those in its specification
  renderer.budget().spend_text(format.text().size());
  return Value(BraceFormatter(renderer, args, format.is_markup()).run(format.text(), kMaxFields), format.is_markup());
}

}  // namespace arc::jinja
