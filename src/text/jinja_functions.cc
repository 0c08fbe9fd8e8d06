// Argument binding and the global functions.
#include "text/jinja_functions.h"

#include <algorithm>
#include <array>
#include <clocale>
#include <ctime>

#include "text/jinja.h"
#include "text/jinja_objects.h"
#include "text/jinja_print.h"
#include "text/jinja_renderer.h"

namespace arc::jinja {
namespace {

// As the sandbox of Jinja has it.
constexpr int64_t kMaxRange = 100'000;

Value make_range(Renderer&, const CallArgs& args) {
  const Bound bound("range", args, {"", "", ""}, 1);
  const bool one = !bound.has(1);
  const int64_t start = one ? 0 : bound.integer(0, 0);
  const int64_t stop = bound.integer(one ? 0 : 1, 0);
  const int64_t step = bound.integer(2, 1);
  if (step == 0) fail("range() arg 3 must not be zero");
  const __int128 span = step > 0 ? static_cast<__int128>(stop) - start : static_cast<__int128>(start) - stop;
  const __int128 stride = step > 0 ? step : -static_cast<__int128>(step);
  const __int128 count = span > 0 ? (span + stride - 1) / stride : 0;
  if (count > kMaxRange) {
    fail("Range too big. The sandbox blocks ranges larger than MAX_RANGE ({}).", kMaxRange);
  }
  return std::make_shared<Range>(start, stop, step, static_cast<int64_t>(count));
}

// dict(mapping or pairs, **named)
Dict build_dict(Renderer& renderer, const CallArgs& args) {
  if (args.positional.size() > 1) fail("dict expected at most 1 argument, got {}", args.positional.size());
  Dict dict;
  Budget& budget = renderer.budget();
  if (!args.positional.empty() && args.positional[0].is_undefined()) {
    throw Failure{args.positional[0].as_undefined().message};
  }
  if (!args.positional.empty() && args.positional[0].is_dict()) {
    for (const auto& [key, value] : args.positional[0].dict().entries()) dict.set(budget, key, value);
  } else if (!args.positional.empty()) {
    for (const Value& pair : items_of(budget, args.positional[0])) {
      const auto parts = items_of(budget, pair);
      if (parts.size() != 2) fail("dictionary update sequence element is no pair");
      dict.set(budget, parts[0], parts[1]);
    }
  }
  for (const auto& [name, value] : args.named) dict.set(budget, name, value);
  return dict;
}

Value make_dict(Renderer& renderer, const CallArgs& args) {
  return build_dict(renderer, args);
}

Value make_namespace(Renderer& renderer, const CallArgs& args) {
  auto space = std::make_shared<Namespace>(build_dict(renderer, args));
  renderer.keep(space);
  return space;
}

Value make_cycler(Renderer&, const CallArgs& args) {
  if (!args.named.empty()) fail("cycler() takes no keyword arguments");
  return std::make_shared<Cycler>(args.positional);
}

Value make_joiner(Renderer&, const CallArgs& args) {
  const Bound bound("joiner", args, {"sep"});
  return std::make_shared<Joiner>(bound.has(0) ? bound[0] : Value(", "));
}

Value raise_exception(Renderer& renderer, const CallArgs& args) {
  const Bound bound("raise_exception", args, {"message"}, 1);
  throw RaisedError(renderer.str(bound[0]));
}

// datetime.now().strftime(format) of a clock without a time zone.
Value strftime_now(Renderer& renderer, const CallArgs& args) {
  const Bound bound("strftime_now", args, {"format"}, 1);
  std::string format;
  const std::string& given = bound.text(0);
  for (size_t i = 0; i < given.size(); ++i) {
    const char next = given[i] == '%' && i + 1 < given.size() ? given[i + 1] : '\0';
    if (next == 'f') fail("strftime_now: %f (microseconds) is not supported");
    if (next == 'z' || next == 'Z') {
      ++i;
      continue;
    }
    format += given[i];
    if (next == '%') format += given[++i];
  }
  static const locale_t kLocale = newlocale(LC_ALL_MASK, "C", nullptr);
  const std::tm now = renderer.now();
  format += ' ';  // so that the result is never empty
  std::array<char, 4096> buffer{};
  const size_t n = strftime_l(buffer.data(), buffer.size(), format.c_str(), &now, kLocale);
  if (n == 0) fail("strftime_now: the format is too long");
  return std::string(buffer.data(), n - 1);
}

}  // namespace

std::optional<Value> find_global(std::string_view name) {
  static const std::array<std::pair<std::string_view, Function::Code>, 7> kGlobals = {{
      {"range", make_range},
      {"dict", make_dict},
      {"namespace", make_namespace},
      {"cycler", make_cycler},
      {"joiner", make_joiner},
      {"raise_exception", raise_exception},
      {"strftime_now", strftime_now},
  }};
  for (const auto& [global, code] : kGlobals) {
    if (global == name) return std::make_shared<Function>(code);
  }
  return std::nullopt;
}

Bound::Bound(std::string_view function, const CallArgs& args, std::initializer_list<std::string_view> names,
             size_t required)
    : function_(function), values_(names.size()) {
  if (args.positional.size() > names.size()) {
    fail("{}() takes at most {} argument(s) ({} given)", function, names.size(), args.positional.size());
  }
  for (size_t i = 0; i < args.positional.size(); ++i) values_[i] = &args.positional[i];
  for (const auto& [name, value] : args.named) {
    const auto* it = name.empty() ? names.end() : std::ranges::find(names, name);
    if (it == names.end()) fail("{}() got an unexpected keyword argument '{}'", function, name);
    const Value*& place = values_[static_cast<size_t>(it - names.begin())];
    if (place != nullptr) fail("{}() got multiple values for argument '{}'", function, name);
    place = &value;
  }
  for (size_t i = 0; i < required; ++i) {
    if (values_[i] == nullptr) fail("{}() misses its argument {}", function, i + 1);
  }
}

int64_t Bound::integer(size_t i, int64_t fallback) const {
  if (!has(i)) return fallback;
  const Value& value = *values_[i];
  if (value.is_undefined()) throw Failure{value.as_undefined().message};
  if (!value.is_integral()) {
    fail("{}(): '{}' object cannot be interpreted as an integer", function_, value.type_name());
  }
  return value.integer();
}

const std::string& Bound::text(size_t i) const {
  if (!values_[i]->is_text()) fail("{}(): argument must be str, not {}", function_, values_[i]->type_name());
  return values_[i]->text();
}

}  // namespace arc::jinja
