// Methods of str, list, tuple, dict and float.
#include <algorithm>
#include <cmath>
#include <span>

#include "base/utf8.h"
#include "text/jinja_format.h"
#include "text/jinja_functions.h"
#include "text/jinja_objects.h"
#include "text/jinja_renderer.h"
#include "text/jinja_text.h"
#include "text/jinja_unicode.h"

namespace arc::jinja {
namespace {

// The texts that a template cannot be allowed to make are refused before they are made.
void check_growth(const Renderer& renderer, size_t count, size_t bytes_each) {
  if (bytes_each != 0 && count > renderer.max_text_bytes() / bytes_each) renderer.check_text(SIZE_MAX);
}

std::optional<int64_t> optional_index(const Bound& bound, size_t i) {
  if (!bound.has(i) || bound[i].is_none()) return std::nullopt;
  return bound.integer(i, 0);
}

// The part of the text that arguments `i` and `i` + 1 (start and end) leave, and where it starts in code points.
struct Part {
  std::string text;
  int64_t start = 0;
  bool valid = true;  // start is not past the end
};

Part part_of(const std::string& text, const Bound& bound, size_t i) {
  const auto length = static_cast<int64_t>(count_code_points(text));
  const auto start = optional_index(bound, i);
  const SliceRange range = slice_range(length, start, optional_index(bound, i + 1), 1);
  return {slice_text(text, range), range.start, start.value_or(0) <= length};
}

// Parts of `self`, whose markup a method's rule decides.
Value plain_part(const Value& self, std::string_view part) {
  TextBuilder text;
  text.append(self, part);
  return text.take();
}

Values plain_parts(const Value& self, const std::vector<std::string_view>& parts) {
  Values values;
  values.reserve(parts.size());
  for (const std::string_view part : parts) values.push_back(plain_part(self, part));
  return values;
}

template <bool left, bool right>
Value strip(Renderer&, const Value& self, const CallArgs& args) {
  const Bound bound("strip", args, {""});
  std::optional<std::string_view> chars;
  if (bound.has(0) && !bound[0].is_none()) chars = bound.text(0);
  return plain_part(self, strip_text(self.text(), chars, left, right));
}

template <bool from_right>
Value split(Renderer& renderer, const Value& self, const CallArgs& args) {
  const Bound bound("split", args, {"sep", "maxsplit"});
  const int64_t limit = bound.integer(1, -1);
  std::vector<std::string_view> parts;
  if (!bound.has(0) || bound[0].is_none()) {
    parts = split_words(self.text(), limit, from_right);
  } else {
    if (bound.text(0).empty()) fail("empty separator");
    parts = split_at(self.text(), bound.text(0), limit, from_right);
  }
  renderer.budget().spend(parts.size());
  return plain_parts(self, parts);
}

template <bool from_right>
Value partition(Renderer&, const Value& self, const CallArgs& args) {
  const Bound bound("partition", args, {""}, 1);
  const std::string& separator = bound.text(0);
  if (separator.empty()) fail("empty separator");
  const auto parts = split_at(self.text(), separator, 1, from_right);
  if (parts.size() == 2) return Value::tuple({plain_part(self, parts[0]), bound[0], plain_part(self, parts[1])});
  return from_right ? Value::tuple({"", "", plain_part(self, parts[0])})
                    : Value::tuple({plain_part(self, parts[0]), "", ""});
}

template <bool at_end>
Value starts_or_ends(Renderer&, const Value& self, const CallArgs& args) {
  const Bound bound(at_end ? "endswith" : "startswith", args, {"", "", ""}, 1);
  const Part part = part_of(self.text(), bound, 1);
  const auto matches = [&part](const Value& affix) {
    if (!affix.is_text()) fail("startswith and endswith need a str or a tuple of str, not {}", affix.type_name());
    if (!part.valid) return false;
    return at_end ? part.text.ends_with(affix.text()) : part.text.starts_with(affix.text());
  };
  return bound[0].is_tuple() ? std::ranges::any_of(bound[0].sequence().items, matches) : matches(bound[0]);
}

template <bool from_right, bool must_exist>
Value find(Renderer&, const Value& self, const CallArgs& args) {
  const Bound bound(must_exist ? "index" : "find", args, {"", "", ""}, 1);
  const Part part = part_of(self.text(), bound, 1);
  const std::string& needle = bound.text(0);
  std::optional<size_t> byte;
  if (part.valid && needle.empty()) {
    byte = from_right ? part.text.size() : 0;
  } else if (part.valid) {
    const auto pieces = split_at(part.text, needle, 1, from_right);
    if (pieces.size() == 2) byte = pieces[0].size();
  }
  if (!byte && must_exist) fail("substring not found");
  if (!byte) return -1;
  return part.start + static_cast<int64_t>(count_code_points(std::string_view(part.text).substr(0, *byte)));
}

Value count(Renderer&, const Value& self, const CallArgs& args) {
  const Bound bound("count", args, {"", "", ""}, 1);
  const Part part = part_of(self.text(), bound, 1);
  return part.valid ? count_bytes(part.text, bound.text(0)) : 0;
}

Value replace(Renderer& renderer, const Value& self, const CallArgs& args) {
  const Bound bound("replace", args, {"", "", "count"}, 2);
  const std::string_view text = self.text(), from = bound.text(0);
  const size_t n_matches = count_bytes(text, from);
  check_growth(renderer, n_matches, bound.text(1).size());
  renderer.budget().spend(n_matches + self.as_text().n_ranges());
  TextBuilder out;
  size_t done = 0;
  for (const size_t at : find_all(text, from, bound.integer(2, -1))) {
    out.append(self, text.substr(done, at - done));
    renderer.append(out, bound[1]);
    done = at + from.size();
  }
  out.append(self, text.substr(done));
  return out.take();
}

Value join(Renderer& renderer, const Value& self, const CallArgs& args) {
  const Bound bound("join", args, {""}, 1);
  TextBuilder out;
  bool first = true;
  for (const Value& item : items_of(renderer.budget(), bound[0])) {
    if (!item.is_text()) fail("sequence item: expected str instance, {} found", item.type_name());
    if (!std::exchange(first, false)) renderer.append(out, self);
    renderer.append(out, item);
  }
  return out.take();
}

// Spaces, or the given character, on one side or (`both`) on both.
enum class Side { left, right, both };

template <Side side>
Value pad(Renderer& renderer, const Value& self, const CallArgs& args) {
  const Bound bound("padding", args, {"", ""}, 1);
  const std::string fill = bound.has(1) ? bound.text(1) : " ";
  if (count_code_points(fill) != 1) fail("The fill character must be exactly one character long");
  const int64_t width = bound.integer(0, 0);
  const int64_t missing = std::max<int64_t>(width - length_of(self), 0);
  check_growth(renderer, static_cast<size_t>(missing), fill.size());
  int64_t before = side == Side::left ? missing : 0;
  if (side == Side::both) before = missing / 2 + (missing & width & 1);
  std::string out;
  for (int64_t i = 0; i < before; ++i) out += fill;
  out += self.text();
  for (int64_t i = before; i < missing; ++i) out += fill;
  return out;
}

Value zfill(Renderer& renderer, const Value& self, const CallArgs& args) {
  const Bound bound("zfill", args, {""}, 1);
  const int64_t missing = std::max<int64_t>(bound.integer(0, 0) - length_of(self), 0);
  check_growth(renderer, static_cast<size_t>(missing), 1);
  const size_t sign = self.text().starts_with('-') || self.text().starts_with('+');
  std::string out = self.text();
  return out.insert(sign, static_cast<size_t>(missing), '0');
}

Value expand_tabs(Renderer& renderer, const Value& self, const CallArgs& args) {
  const Bound bound("expandtabs", args, {"tabsize"});
  const int64_t size = bound.integer(0, 8);
  check_growth(renderer, count_bytes(self.text(), "\t"), static_cast<size_t>(std::max<int64_t>(size, 0)));
  std::string out;
  int64_t column = 0;
  for (size_t i = 0; i < self.text().size();) {
    const size_t end = next_code_point(self.text(), i);
    const char c = self.text()[i];
    if (c == '\t') {
      const int64_t spaces = size > 0 ? size - column % size : 0;
      out.append(static_cast<size_t>(spaces), ' ');
      column += spaces;
    } else {
      out.append(self.text(), i, end - i);
      column = c == '\n' || c == '\r' ? 0 : column + 1;
    }
    i = end;
  }
  return out;
}

template <bool at_end>
Value remove_affix(Renderer&, const Value& self, const CallArgs& args) {
  const Bound bound(at_end ? "removesuffix" : "removeprefix", args, {""}, 1);
  std::string_view text = self.text();
  const std::string& affix = bound.text(0);
  if (at_end && text.ends_with(affix)) text.remove_suffix(affix.size());
  if (!at_end && text.starts_with(affix)) text.remove_prefix(affix.size());
  return plain_part(self, text);
}

Value split_lines(Renderer& renderer, const Value& self, const CallArgs& args) {
  const Bound bound("splitlines", args, {"keepends"});
  const auto lines = jinja::split_lines(self.text(), bound.truth(0, false));
  renderer.budget().spend(lines.size());
  return plain_parts(self, lines);
}

Value format(Renderer& renderer, const Value& self, const CallArgs& args) {
  return brace_format(renderer, self, args);
}

Value format_map(Renderer& renderer, const Value& self, const CallArgs& args) {
  const Bound bound("format_map", args, {""}, 1);
  if (!bound[0].is_dict()) fail("format_map() needs a dict, not {}", bound[0].type_name());
  CallArgs named;
  for (const auto& [key, value] : bound[0].dict().entries()) {
    if (key.is_text()) named.named.emplace_back(key.text(), value);
  }
  return brace_format(renderer, self, named);
}

template <std::string (*map)(std::string_view)>
Value mapped(Renderer&, const Value& self, const CallArgs& args) {
  const Bound bound("this method", args, {});
  return map(self.text());
}

template <bool (*test)(std::string_view)>
Value tested(Renderer&, const Value& self, const CallArgs& args) {
  const Bound bound("this method", args, {});
  return test(self.text());
}

// Whether there are characters and all pass.
template <bool (*test)(char32_t)>
bool all_of(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    if (!test(utf8_decode(text, i))) return false;
  }
  return !text.empty();
}

bool is_alphanumeric(char32_t c) {
  return is_alpha(c) || is_decimal(c) || is_digit(c) || is_numeric(c);
}

bool is_ascii_text(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return static_cast<uint8_t>(c) < 0x80; });
}

bool is_printable_text(std::string_view text) {
  return text.empty() || all_of<is_printable>(text);
}

constexpr Method kTextMethods[] = {
    {"capitalize", mapped<capitalize_text>, MarkupRule::escape},
    {"center", pad<Side::both>, MarkupRule::escape},
    {"count", count},
    {"endswith", starts_or_ends<true>},
    {"expandtabs", expand_tabs, MarkupRule::escape},
    {"find", find<false, false>},
    {"format", format},
    {"format_map", format_map},
    {"index", find<false, true>},
    {"isalnum", tested<all_of<is_alphanumeric>>},
    {"isalpha", tested<all_of<is_alpha>>},
    {"isascii", tested<is_ascii_text>},
    {"isdecimal", tested<all_of<is_decimal>>},
    {"isdigit", tested<all_of<is_digit>>},
    {"islower", tested<is_lower_text>},
    {"isnumeric", tested<all_of<is_numeric>>},
    {"isprintable", tested<is_printable_text>},
    {"isspace", tested<all_of<is_space>>},
    {"istitle", tested<is_title_text>},
    {"isupper", tested<is_upper_text>},
    {"join", join, MarkupRule::escape},
    {"ljust", pad<Side::right>, MarkupRule::escape},
    {"lower", mapped<lower_text>, MarkupRule::escape},
    {"lstrip", strip<true, false>, MarkupRule::escape},
    {"partition", partition<false>, MarkupRule::escape},
    {"removeprefix", remove_affix<false>, MarkupRule::escape},
    {"removesuffix", remove_affix<true>, MarkupRule::escape},
    {"replace", replace, MarkupRule::escape},
    {"rfind", find<true, false>},
    {"rindex", find<true, true>},
    {"rjust", pad<Side::left>, MarkupRule::escape},
    {"rpartition", partition<true>, MarkupRule::escape},
    {"rsplit", split<true>, MarkupRule::mark},
    {"rstrip", strip<false, true>, MarkupRule::escape},
    {"split", split<false>, MarkupRule::mark},
    {"splitlines", split_lines, MarkupRule::mark},
    {"startswith", starts_or_ends<false>},
    {"strip", strip<true, true>, MarkupRule::escape},
    {"swapcase", mapped<swap_case>, MarkupRule::escape},
    {"title", mapped<title_text>, MarkupRule::escape},
    {"upper", mapped<upper_text>, MarkupRule::escape},
    {"zfill", zfill, MarkupRule::escape},
};

Value dict_get(Renderer& renderer, const Value& self, const CallArgs& args) {
  const Bound bound("get", args, {"", ""}, 1);
  const Value* value = self.dict().find(renderer.budget(), bound[0]);
  return value ? *value : bound.has(1) ? bound[1] : Value();
}

template <DictView::Part part>
Value dict_view(Renderer&, const Value& self, const CallArgs& args) {
  const Bound bound("this method", args, {});
  return std::make_shared<DictView>(self, part);
}

Value copy(Renderer&, const Value& self, const CallArgs& args) {
  const Bound bound("copy", args, {});
  return self;
}

Value list_count(Renderer& renderer, const Value& self, const CallArgs& args) {
  const Bound bound("count", args, {""}, 1);
  return std::ranges::count_if(self.sequence().items,
                               [&](const Value& item) { return equal(renderer.budget(), item, bound[0]); });
}

Value list_index(Renderer& renderer, const Value& self, const CallArgs& args) {
  const Bound bound("index", args, {""}, 1);
  const Values& items = self.sequence().items;
  const auto it =
      std::ranges::find_if(items, [&](const Value& item) { return equal(renderer.budget(), item, bound[0]); });
  if (it == items.end()) fail("the value is not in the {}", self.type_name());
  return it - items.begin();
}

Value is_integer(Renderer&, const Value& self, const CallArgs& args) {
  const Bound bound("is_integer", args, {});
  return self.floating() == std::trunc(self.floating());
}

constexpr Method kDictMethods[] = {
    {"copy", copy},
    {"get", dict_get},
    {"items", dict_view<DictView::Part::items>},
    {"keys", dict_view<DictView::Part::keys>},
    {"values", dict_view<DictView::Part::values>},
};
constexpr Method kListMethods[] = {{"copy", copy}, {"count", list_count}, {"index", list_index}};
constexpr Method kTupleMethods[] = {{"count", list_count}, {"index", list_index}};
constexpr Method kFloatMethods[] = {{"is_integer", is_integer}};

constexpr std::string_view kDictMutators[] = {"clear", "pop", "popitem", "setdefault", "update"};
constexpr std::string_view kListMutators[] = {"append", "clear",  "extend",  "insert",
                                              "pop",    "remove", "reverse", "sort"};

std::span<const Method> methods_of(const Value& self) {
  if (self.is_text()) return kTextMethods;
  if (self.is_dict()) return kDictMethods;
  if (self.is_list()) return kListMethods;
  if (self.is_tuple()) return kTupleMethods;
  return self.is_float() ? std::span<const Method>(kFloatMethods) : std::span<const Method>();
}

}  // namespace

const Method* find_text_method(std::string_view name) {
  const auto* it = std::ranges::find(kTextMethods, name, &Method::name);
  return it != std::end(kTextMethods) ? it : nullptr;
}

std::optional<Value> find_method(const Value& self, std::string_view name) {
  const auto methods = methods_of(self);
  const auto it = std::ranges::find(methods, name, &Method::name);
  if (it != methods.end()) return std::make_shared<BoundMethod>(self, *it);
  if (self.is_sequence() && self.sequence().form == List::Form::group) {
    if (name == "grouper") return self.sequence().items[0];
    if (name == "list") return self.sequence().items[1];
  }
  std::span<const std::string_view> forbidden;
  if (self.is_dict()) forbidden = kDictMutators;
  if (self.is_list()) forbidden = kListMutators;
  if (std::ranges::find(forbidden, name) == forbidden.end()) return std::nullopt;
  return Value::undefined(fmt::format("access to attribute '{}' of '{}' object is unsafe.", name, self.type_name()));
}

}  // namespace arc::jinja
