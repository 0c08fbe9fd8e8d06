// Filters of lists, dicts and other iterables.
#include <algorithm>
#include <charconv>

#include "text/jinja_arith.h"
#include "text/jinja_functions.h"
#include "text/jinja_objects.h"
#include "text/jinja_print.h"
#include "text/jinja_renderer.h"
#include "text/jinja_sort.h"
#include "text/jinja_text.h"
#include "text/jinja_unicode.h"

namespace arc::jinja {
namespace {

Value generator(Values items) {
  return std::make_shared<Iterator>(std::move(items));
}

// Compares and groups as the filters do by default: texts without their case.
Value folded(Renderer& renderer, const Value& value, bool case_sensitive) {
  if (case_sensitive || !value.is_text()) return value;
  renderer.budget().spend_text(value.text().size());
  return lower_text(value.text());
}

// The steps of "a.b.0"; none for None.
Values attribute_path(const Value& attribute) {
  if (attribute.is_none()) return {};
  if (!attribute.is_text()) return {attribute};
  Values path;
  for (const std::string_view part : split_at(attribute.text(), ".", -1, false)) {
    int64_t index = 0;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), index);
    const bool is_index = !part.empty() && part[0] != '-' && end == part.data() + part.size() && error == std::errc();
    path.push_back(is_index ? Value(index) : Value(part));
  }
  return path;
}

Value follow(Renderer& renderer, Value value, const Values& path, const Value& fallback = {}) {
  for (const Value& key : path) {
    value = renderer.item(value, key);
    if (value.is_undefined() && !fallback.is_none()) value = fallback;
  }
  return value;
}

Value argument_or(const Bound& bound, size_t i, Value fallback) {
  return bound.has(i) ? bound[i] : std::move(fallback);
}

Value batch(Renderer& renderer, const CallArgs& args) {
  const Bound bound("batch", args, {"value", "linecount", "fill_with"}, 2);
  const int64_t size = bound.integer(1, 0);
  const Value fill = argument_or(bound, 2, {});
  Values batches, line;
  for (const Value& item : items_of(renderer.budget(), bound[0])) {
    if (static_cast<int64_t>(line.size()) == size) batches.emplace_back(std::exchange(line, {}));
    line.push_back(item);
  }
  if (!line.empty()) {
    const int64_t missing = fill.is_none() ? 0 : std::max<int64_t>(size - static_cast<int64_t>(line.size()), 0);
    renderer.budget().spend(static_cast<uint64_t>(missing));
    line.insert(line.end(), static_cast<size_t>(missing), fill);
    batches.emplace_back(std::move(line));
  }
  return generator(std::move(batches));
}

Value slice(Renderer& renderer, const CallArgs& args) {
  const Bound bound("slice", args, {"value", "slices", "fill_with"}, 2);
  const Items items = items_of(renderer.budget(), bound[0]);
  const int64_t n_slices = bound.integer(1, 0);
  if (n_slices == 0) fail("integer division or modulo by zero");
  const Value fill = argument_or(bound, 2, {});
  Values slices;
  size_t start = 0;
  for (int64_t i = 0; i < n_slices; ++i) {
    renderer.budget().spend(1);
    const auto parts = static_cast<uint64_t>(n_slices);
    const bool extra = static_cast<uint64_t>(i) < items.size() % parts;
    const size_t end = start + items.size() / parts + extra;
    Values part(items.begin() + static_cast<ptrdiff_t>(start), items.begin() + static_cast<ptrdiff_t>(end));
    if (!fill.is_none() && !extra) part.push_back(fill);
    slices.emplace_back(std::move(part));
    start = end;
  }
  return generator(std::move(slices));
}

struct Row {
  Value key;
  Value value;
};

// The values in the order of their keys; those with equal keys keep theirs.

Values sorted_values(Renderer& renderer, std::vector<Row> rows, bool reverse) {
  const auto before = [&renderer](const Row& a, const Row& b) { return less(renderer.budget(), a.key, b.key); };
  if (reverse) {
    stable_sort(rows, [&](const Row& a, const Row& b) { return before(b, a); });
  } else {
    stable_sort(rows, before);
  }
  Values values;
  for (Row& row : rows) values.push_back(std::move(row.value));
  return values;
}

Value dict_sort(Renderer& renderer, const CallArgs& args) {
  const Bound bound("dictsort", args, {"value", "case_sensitive", "by", "reverse"}, 1);
  if (bound[0].is_undefined()) throw Failure{bound[0].as_undefined().message};
  if (!bound[0].is_dict()) fail("'{}' object has no attribute 'items'", bound[0].type_name());
  const std::string by = bound.has(2) ? bound.text(2) : "key";
  if (by != "key" && by != "value") fail("You can only sort by either \"key\" or \"value\"");
  std::vector<Row> rows;
  for (const auto& [key, value] : bound[0].dict().entries()) {
    rows.push_back({folded(renderer, by == "key" ? key : value, bound.truth(1, false)), Value::tuple({key, value})});
  }
  return sorted_values(renderer, std::move(rows), bound.truth(3, false));
}

Value sort(Renderer& renderer, const CallArgs& args) {
  const Bound bound("sort", args, {"value", "reverse", "case_sensitive", "attribute"}, 1);
  const Value attribute = argument_or(bound, 3, {});
  std::vector<Values> paths;
  if (attribute.is_text()) {
    for (const std::string_view part : split_at(attribute.text(), ",", -1, false))
      paths.push_back(attribute_path(part));
  } else {
    paths.push_back(attribute_path(attribute));
  }
  std::vector<Row> rows;
  for (const Value& item : items_of(renderer.budget(), bound[0])) {
    Values keys;
    for (const Values& path : paths) {
      keys.push_back(folded(renderer, follow(renderer, item, path), bound.truth(2, false)));
    }
    rows.push_back({std::move(keys), item});
  }
  return sorted_values(renderer, std::move(rows), bound.truth(1, false));
}

Value first(Renderer& renderer, const CallArgs& args) {
  const Bound bound("first", args, {"seq"}, 1);
  if (auto* iterator = bound[0].object_as<Iterator>()) {
    const auto item = iterator->next();
    return item ? *item : Value::undefined("No first item, sequence was empty.");
  }
  const auto items = items_of(renderer.budget(), bound[0]);
  return items.size() == 0 ? Value::undefined("No first item, sequence was empty.") : items[0];
}

// reversed() works for everything that has a length, not for generators.
bool is_reversible(const Value& value) {
  return is_iterable(value) && (!value.object() || (*value.object())->length());
}

Value last(Renderer& renderer, const CallArgs& args) {
  const Bound bound("last", args, {"seq"}, 1);
  if (!is_reversible(bound[0])) fail("'{}' object is not reversible", bound[0].type_name());
  const auto items = items_of(renderer.budget(), bound[0]);
  return items.size() == 0 ? Value::undefined("No last item, sequence was empty.") : items[items.size() - 1];
}

Value reverse(Renderer& renderer, const CallArgs& args) {
  const Bound bound("reverse", args, {"value"}, 1);
  const Value& value = bound[0];
  if (value.is_text()) return renderer.slice(value, {std::nullopt, std::nullopt, -1});
  if (!is_iterable(value)) fail("argument must be iterable");
  Values items = items_of(renderer.budget(), value).values();
  renderer.budget().spend(items.size());
  std::ranges::reverse(items);
  return is_reversible(value) ? generator(std::move(items)) : Value(std::move(items));
}

Value group_by(Renderer& renderer, const CallArgs& args) {
  const Bound bound("groupby", args, {"value", "attribute", "default", "case_sensitive"}, 2);
  const Values path = attribute_path(bound[1]);
  const Value fallback = argument_or(bound, 2, {});
  const bool case_sensitive = bound.truth(3, false);
  const auto key_of = [&](const Value& item) { return follow(renderer, item, path, fallback); };
  std::vector<Row> rows;
  for (const Value& item : items_of(renderer.budget(), bound[0])) {
    rows.push_back({folded(renderer, key_of(item), case_sensitive), item});
  }
  Values groups, members;
  Value current;
  const auto close = [&] {
    if (members.empty()) return;
    const Value key = key_of(members.front());
    groups.emplace_back(Values{key, Value(std::exchange(members, {}))}, List::Form::group);
  };
  for (const Value& item : sorted_values(renderer, std::move(rows), false)) {
    const Value key = folded(renderer, key_of(item), case_sensitive);
    if (members.empty() || !equal(renderer.budget(), key, current)) close();
    current = key;
    members.push_back(item);
  }
  close();
  return groups;
}

Value items(Renderer&, const CallArgs& args) {
  const Bound bound("items", args, {"value"}, 1);
  if (bound[0].is_undefined()) return generator({});
  if (!bound[0].is_dict()) fail("Can only get item pairs from a mapping.");
  return generator(*DictView(bound[0], DictView::Part::items).iterate());
}

Value join(Renderer& renderer, const CallArgs& args) {
  const Bound bound("join", args, {"value", "d", "attribute"}, 1);
  const Value separator = bound.has(1) ? renderer.text_of(bound[1]) : Value("");
  const Values path = attribute_path(argument_or(bound, 2, {}));
  TextBuilder out;
  bool is_first = true;
  for (const Value& item : items_of(renderer.budget(), bound[0])) {
    if (!std::exchange(is_first, false)) renderer.append(out, separator);
    renderer.append(out, renderer.text_of(follow(renderer, item, path)));
  }
  return out.take();
}

Value list(Renderer& renderer, const CallArgs& args) {
  const Bound bound("list", args, {"value"}, 1);
  const auto items = items_of(renderer.budget(), bound[0]);
  renderer.budget().spend(items.size());
  return Value(items.values());
}

Value map(Renderer& renderer, const CallArgs& args) {
  if (args.positional.empty()) fail("map needs a value");
  const Value& value = args.positional[0];
  Values out;
  if (!value.truth()) return generator({});
  if (args.positional.size() == 1) {
    const CallArgs options{.named = args.named};
    const Bound bound("map", options, {"attribute", "default"});
    if (!bound.has(0)) fail("map requires a filter argument");
    const Values path = attribute_path(bound[0]);
    for (const Value& item : items_of(renderer.budget(), value)) {
      out.push_back(follow(renderer, item, path, argument_or(bound, 1, {})));
    }
    return generator(std::move(out));
  }
  const Value& name = args.positional[1];
  const FilterFunction filter = name.is_text() ? find_filter(name.text()) : nullptr;
  if (filter == nullptr) {
    throw Failure{"no filter named " + repr(renderer.budget(), name), ErrorCode::unsupported};
  }
  CallArgs call{.named = args.named};
  for (const Value& item : items_of(renderer.budget(), value)) {
    call.positional = {item};
    call.positional.insert(call.positional.end(), args.positional.begin() + 2, args.positional.end());
    out.push_back(filter(renderer, call));
  }
  return generator(std::move(out));
}

// select and reject, of the items or of an attribute of theirs.
template <bool wanted, bool by_attribute>
Value select(Renderer& renderer, const CallArgs& args) {
  constexpr size_t kTestAt = by_attribute ? 2 : 1;
  if (args.positional.empty()) fail("select needs a value");
  const Value& value = args.positional[0];
  if (!value.truth()) return generator({});
  if (by_attribute && args.positional.size() < 2) fail("Missing parameter for attribute name");
  const Values path = by_attribute ? attribute_path(args.positional[1]) : Values();
  TestFunction test = nullptr;
  if (args.positional.size() > kTestAt) {
    const Value& name = args.positional[kTestAt];
    test = name.is_text() ? find_test(name.text()) : nullptr;
    if (test == nullptr) throw Failure{"no test named " + repr(renderer.budget(), name), ErrorCode::unsupported};
  }
  CallArgs call{.named = args.named};
  Values out;
  for (const Value& item : items_of(renderer.budget(), value)) {
    renderer.budget().spend(1);
    const Value subject = follow(renderer, item, path);
    bool passed = subject.truth();
    if (test) {
      call.positional = {subject};
      call.positional.insert(call.positional.end(), args.positional.begin() + kTestAt + 1, args.positional.end());
      passed = test(renderer, call);
    }
    if (passed == wanted) out.push_back(item);
  }
  return generator(std::move(out));
}

template <bool largest>
Value extreme(Renderer& renderer, const CallArgs& args) {
  const Bound bound(largest ? "max" : "min", args, {"value", "case_sensitive", "attribute"}, 1);
  const Values path = attribute_path(argument_or(bound, 2, {}));
  std::optional<Row> best;
  for (const Value& item : items_of(renderer.budget(), bound[0])) {
    Value key = folded(renderer, follow(renderer, item, path), bound.truth(1, false));
    if (best && !ordered(renderer.budget(), key, largest ? Order::gt : Order::lt, best->key)) continue;
    best = Row{std::move(key), item};
  }
  return best ? best->value : Value::undefined("No aggregated item, sequence was empty.");
}

Value sum(Renderer& renderer, const CallArgs& args) {
  const Bound bound("sum", args, {"iterable", "attribute", "start"}, 1);
  const Values path = attribute_path(argument_or(bound, 1, {}));
  Value total = argument_or(bound, 2, 0);
  if (total.is_text()) fail("sum() can't sum strings [use ''.join(seq) instead]");
  for (const Value& item : items_of(renderer.budget(), bound[0])) {
    total = arithmetic(renderer, Operator::add, total, follow(renderer, item, path));
  }
  return total;
}

Value unique(Renderer& renderer, const CallArgs& args) {
  const Bound bound("unique", args, {"value", "case_sensitive", "attribute"}, 1);
  const Values path = attribute_path(argument_or(bound, 2, {}));
  Dict seen;
  Values out;
  for (const Value& item : items_of(renderer.budget(), bound[0])) {
    const Value key = folded(renderer, follow(renderer, item, path), bound.truth(1, false));
    if (seen.find(renderer.budget(), key) != nullptr) continue;
    seen.set(renderer.budget(), key, {});
    out.push_back(item);
  }
  return generator(std::move(out));
}

struct Filter {
  std::string_view name;
  FilterFunction function = nullptr;
};

constexpr Filter kFilters[] = {
    {"batch", batch},
    {"dictsort", dict_sort},
    {"first", first},
    {"groupby", group_by},
    {"items", items},
    {"join", join},
    {"last", last},
    {"list", list},
    {"map", map},
    {"max", extreme<true>},
    {"min", extreme<false>},
    {"reject", select<false, false>},
    {"rejectattr", select<false, true>},
    {"reverse", reverse},
    {"select", select<true, false>},
    {"selectattr", select<true, true>},
    {"slice", slice},
    {"sort", sort},
    {"sum", sum},
    {"unique", unique},
};

}  // namespace

FilterFunction find_sequence_filter(std::string_view name) {
  const auto* it = std::ranges::find(kFilters, name, &Filter::name);
  return it != std::end(kFilters) ? it->function : nullptr;
}

}  // namespace arc::jinja
