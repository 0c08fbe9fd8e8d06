#include "text/jinja_print.h"

#include <charconv>
#include <cmath>

#include "base/utf8.h"
#include "text/jinja_sort.h"
#include "text/jinja_unicode.h"

namespace arc::jinja {
namespace {

// The digits of to_chars' scientific form laid out the way Python does: exponents from -4 to 15 without an "e".
std::string layout_float(std::string_view scientific) {
  const bool negative = scientific.front() == '-';
  if (negative) scientific.remove_prefix(1);
  const size_t e = scientific.find('e');
  std::string digits(scientific.substr(0, e));
  std::erase(digits, '.');
  int exponent = 0;
  const std::string_view tail = scientific.substr(e + 1 + (scientific[e + 1] == '+'));
  std::from_chars(tail.data(), tail.data() + tail.size(), exponent);

  std::string out = negative ? "-" : "";
  const int n_digits = static_cast<int>(digits.size());
  if (exponent < -4 || exponent >= 16) {
    out += digits[0];
    if (n_digits > 1) out.append(".").append(digits, 1);
    return out + fmt::format("e{}{:02}", exponent < 0 ? '-' : '+', std::abs(exponent));
  }
  if (exponent < 0) return out + "0." + std::string(static_cast<size_t>(-exponent - 1), '0') + digits;
  if (n_digits <= exponent + 1)
    return out + digits + std::string(static_cast<size_t>(exponent + 1 - n_digits), '0') + ".0";
  const auto point = static_cast<size_t>(exponent + 1);
  return out + digits.substr(0, point) + "." + digits.substr(point);
}

void append_escape(std::string& out, char32_t c) {
  const auto code = static_cast<uint32_t>(c);
  if (c < 0x100) {
    out += fmt::format("\\x{:02x}", code);
  } else {
    out += c < 0x10000 ? fmt::format("\\u{:04x}", code) : fmt::format("\\U{:08x}", code);
  }
}

class Repr {
 public:
  explicit Repr(Budget& budget) : budget_(budget) {}

  void append(const Value& value) {
    const Budget::Level level(budget_);
    const size_t before = out_.size();
    if (value.is_sequence()) {
      append_sequence(value.sequence());
    } else if (value.is_dict()) {
      append_dict(value.dict());
    } else {
      append_scalar(value);
      budget_.spend_text(out_.size() - before);
    }
  }

  std::string take() { return std::move(out_); }

 private:
  void append_scalar(const Value& value) {
    if (value.is_none()) {
      out_ += "None";
    } else if (value.is_undefined()) {
      out_ += "Undefined";
    } else if (value.is_bool()) {
      out_ += value.boolean() ? "True" : "False";
    } else if (value.is_integral()) {
      out_ += fmt::format("{}", value.integer());
    } else if (value.is_float()) {
      out_ += float_repr(value.floating());
    } else if (value.is_text()) {
      out_ += value.is_markup() ? "Markup(" + text_repr(value.text()) + ")" : text_repr(value.text());
    } else {
      out_ += (*value.object())->repr(budget_);
    }
  }

  void append_sequence(const List& list) {
    const bool tuple = list.form != List::Form::list;
    out_ += tuple ? '(' : '[';
    for (size_t i = 0; i < list.items.size(); ++i) {
      if (i > 0) out_ += ", ";
      append(list.items[i]);
    }
    if (tuple && list.items.size() == 1) out_ += ',';
    out_ += tuple ? ')' : ']';
  }

  void append_dict(const Dict& dict) {
    out_ += '{';
    for (const auto& [key, value] : dict.entries()) {
      if (&key != &dict.entries().front().first) out_ += ", ";
      append(key);
      out_ += ": ";
      append(value);
    }
    out_ += '}';
  }

  Budget& budget_;
  std::string out_;
};

class JsonWriter {
 public:
  JsonWriter(Budget& budget, const JsonStyle& style) : budget_(budget), style_(style) {}

  void append(const Value& value) {
    const Budget::Level level(budget_);
    const size_t before = out_.size();
    if (value.is_text()) {
      append_text(value.text());
    } else if (value.is_sequence()) {
      return append_sequence(value.sequence().items);
    } else if (value.is_dict()) {
      return append_dict(value.dict());
    } else {
      out_ += scalar(value, "Object of type {} is not JSON serializable");
    }
    budget_.spend_text(out_.size() - before);
  }

  std::string take() { return std::move(out_); }

 private:
  std::string scalar(const Value& value, std::string_view complaint) const {
    if (value.is_none()) return "null";
    if (value.is_bool()) return value.boolean() ? "true" : "false";
    if (value.is_integral()) return fmt::format("{}", value.integer());
    if (!value.is_float()) fail("{}", fmt::format(fmt::runtime(complaint), value.type_name()));
    const double number = value.floating();
    if (std::isnan(number)) return "NaN";
    if (std::isinf(number)) return number < 0 ? "-Infinity" : "Infinity";
    return float_repr(number);
  }

  void append_text(std::string_view text) {
    out_ += '"';
    for (size_t i = 0; i < text.size();) {
      const size_t start = i;
      const char32_t c = utf8_decode(text, i);
      if (c == '"' || c == '\\') {
        out_ += {'\\', static_cast<char>(c)};
      } else if (const size_t short_form = std::string_view("\n\r\t\f\b").find(static_cast<char>(c));
                 c < 0x20 && short_form != std::string_view::npos) {
        out_ += {'\\', "nrtfb"[short_form]};
      } else if (c < 0x20 || (style_.ascii_only && c > 0x7E)) {
        append_unicode_escape(c);
      } else {
        out_ += text.substr(start, i - start);
      }
    }
    out_ += '"';
  }

  void append_unicode_escape(char32_t c) {
    if (c < 0x10000) {
      out_ += fmt::format("\\u{:04x}", static_cast<uint32_t>(c));
      return;
    }
    const uint32_t rest = static_cast<uint32_t>(c) - 0x10000;  // a surrogate pair
    out_ += fmt::format("\\u{:04x}\\u{:04x}", 0xD800 + (rest >> 10), 0xDC00 + (rest & 0x3FF));
  }

  void append_sequence(const Values& items) {
    open('[');
    for (size_t i = 0; i < items.size(); ++i) {
      separate(i == 0);
      append(items[i]);
    }
    close(']', items.empty());
  }

  void append_dict(const Dict& dict) {
    std::vector<const Dict::Entry*> entries;
    for (const Dict::Entry& entry : dict.entries()) entries.push_back(&entry);
    if (style_.sort_keys) {
      stable_sort(entries, [&](const auto* a, const auto* b) { return less(budget_, a->first, b->first); });
    }
    open('{');
    for (const Dict::Entry* entry : entries) {
      separate(entry == entries.front());
      const Value& key = entry->first;
      append_text(key.is_text() ? key.text() : scalar(key, "keys must be str, int, float, bool or None, not {}"));
      out_ += style_.key_separator;
      append(entry->second);
    }
    close('}', entries.empty());
  }

  void open(char bracket) {
    out_ += bracket;
    ++level_;
  }

  void separate(bool first) {
    if (!first) out_ += style_.item_separator;
    new_line();
  }

  void close(char bracket, bool empty) {
    --level_;
    if (!empty) new_line();
    out_ += bracket;
  }

  void new_line() {
    if (!style_.indent) return;
    budget_.spend_text(style_.indent->size() * static_cast<size_t>(level_));
    out_ += '\n';
    for (int i = 0; i < level_; ++i) out_ += *style_.indent;
  }

  Budget& budget_;
  const JsonStyle& style_;
  std::string out_;
  int level_ = 0;
};

}  // namespace

std::string float_repr(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char buffer[40];
  const auto end = std::to_chars(buffer, buffer + sizeof(buffer), value, std::chars_format::scientific).ptr;
  return layout_float({buffer, end});
}

std::string text_repr(std::string_view text) {
  const bool double_quoted = text.find('\'') != std::string_view::npos && text.find('"') == std::string_view::npos;
  const char quote = double_quoted ? '"' : '\'';
  std::string out(1, quote);
  for (size_t i = 0; i < text.size();) {
    const size_t start = i;
    const char32_t c = utf8_decode(text, i);
    if (c == static_cast<char32_t>(quote) || c == '\\') {
      out += {'\\', static_cast<char>(c)};
    } else if (c == '\n' || c == '\r' || c == '\t') {
      out += {'\\', c == '\n' ? 'n' : c == '\r' ? 'r' : 't'};
    } else if (is_printable(c)) {
      out += text.substr(start, i - start);
    } else {
      append_escape(out, c);
    }
  }
  return out + quote;
}

std::string repr(Budget& budget, const Value& value) {
  Repr printer(budget);
  printer.append(value);
  return printer.take();
}

std::string str(Budget& budget, const Value& value) {
  if (value.is_text()) {
    budget.spend_text(value.text().size());
    return value.text();
  }
  return value.is_undefined() ? std::string() : repr(budget, value);
}

std::string to_json(Budget& budget, const Value& value, const JsonStyle& style) {
  JsonWriter writer(budget, style);
  writer.append(value);
  return writer.take();
}

}  // namespace arc::jinja
