#include "text/jinja_value.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <limits>

#include "nlohmann/json.hpp"

#include "text/jinja_origin.h"
#include "text/jinja_text.h"

namespace arc::jinja {
namespace {

constexpr int kMaxNesting = 256;     // levels of containers in a value
constexpr size_t kLinearSearch = 8;  // dicts up to this size need no index

// -1, 0, 1, or nothing for NaN. An integer against a float is compared without rounding.
std::optional<int> compare_numbers(const Value& a, const Value& b) {
  if (a.is_integral() && b.is_integral()) {
    return a.integer() < b.integer() ? -1 : a.integer() > b.integer();
  }
  const auto wide = [](const Value& v) {
    return v.is_float() ? static_cast<long double>(v.floating()) : static_cast<long double>(v.integer());
  };
  const long double x = wide(a), y = wide(b);
  if (std::isnan(x) || std::isnan(y)) return std::nullopt;
  return x < y ? -1 : x > y;
}

bool holds(Order order, int sign) {
  switch (order) {
    case Order::lt:
      return sign < 0;
    case Order::le:
      return sign <= 0;
    case Order::gt:
      return sign > 0;
    case Order::ge:
      return sign >= 0;
  }
  return false;
}

bool equal_dicts(Budget& budget, const Dict& a, const Dict& b) {
  if (a.size() != b.size()) return false;
  for (const auto& [key, value] : a.entries()) {
    const Value* other = b.find(budget, key);
    if (other == nullptr || !equal(budget, value, *other)) return false;
  }
  return true;
}

int depth_of(const Values& items) {
  int depth = 0;
  for (const Value& item : items) depth = std::max(depth, item.depth());
  return nested(depth);
}

Value value_of(Budget& budget, const Json& json, std::span<const std::string_view> written) {
  switch (json.type()) {
    case Json::value_t::null:
      return {};
    case Json::value_t::boolean:
      return json.get<bool>();
    case Json::value_t::number_integer:
      return json.get<int64_t>();
    case Json::value_t::number_unsigned: {
      const auto number = json.get<uint64_t>();
      if (number > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
        fail("the integer {} does not fit in 64 bits", number);
      }
      return number;
    }
    case Json::value_t::number_float:
      return json.get<double>();
    case Json::value_t::string: {
      const auto& text = json.get_ref<const std::string&>();
      return std::ranges::find(written, text) == written.end() ? Value(text) : Value::written(text);
    }
    case Json::value_t::array: {
      Values items;
      items.reserve(json.size());
      for (const Json& item : json) items.push_back(value_of(budget, item, written));
      return items;
    }
    case Json::value_t::object: {
      Dict dict;
      for (const auto& [key, item] : json.items()) dict.set(budget, key, value_of(budget, item, written));
      return dict;
    }
    default:
      fail("binary JSON values have no meaning in a template");
  }
}

}  // namespace

void Budget::spend(uint64_t steps) {
  if (steps >= static_cast<uint64_t>(std::max<int64_t>(steps_, 0))) {
    steps_ = 0;
    throw Failure{"the template takes too many steps", ErrorCode::resource};
  }
  steps_ -= static_cast<int64_t>(steps);
}

Budget::Level::Level(Budget& budget) : budget_(budget) {
  if (budget_.depth_ <= 0) throw Failure{"the template recurses too deeply", ErrorCode::resource};
  --budget_.depth_;
}

int nested(int depth) {
  if (depth >= kMaxNesting) throw Failure{"a value nests too deeply", ErrorCode::resource};
  return depth + 1;
}

Value::Value(Values items, List::Form form) {
  const int depth = depth_of(items);
  data_ = std::make_shared<const List>(List{std::move(items), form, depth});
}

Value::Value(Dict dict) : data_(std::make_shared<const Dict>(std::move(dict))) {}

Value Value::undefined(std::string message) {
  Value value;
  value.data_ = std::make_shared<const Undefined>(Undefined{std::move(message)});
  return value;
}

Value Value::written(std::string text) {
  return Text{.bytes = std::make_shared<const std::string>(std::move(text)), .origin = Origin::chat_template};
}

int64_t Value::integer() const {
  return is_bool() ? static_cast<int64_t>(boolean()) : std::get<int64_t>(data_);
}

double Value::floating() const {
  return is_float() ? std::get<double>(data_) : static_cast<double>(integer());
}

bool Value::truth() const {
  if (is_none() || is_undefined()) return false;
  if (is_integral()) return integer() != 0;
  if (is_float()) return floating() != 0;
  if (is_text()) return !text().empty();
  if (is_sequence()) return !sequence().items.empty();
  if (is_dict()) return dict().size() != 0;
  return (*object())->length().value_or(1) != 0;
}

std::string Value::type_name() const {
  if (is_none()) return "NoneType";
  if (is_undefined()) return "Undefined";
  if (is_bool()) return "bool";
  if (is_integral()) return "int";
  if (is_float()) return "float";
  if (is_text()) return is_markup() ? "Markup" : "str";
  if (is_sequence()) return is_list() ? "list" : "tuple";
  return is_dict() ? "dict" : (*object())->type_name();
}

int Value::depth() const {
  if (is_sequence()) return sequence().depth;
  if (is_dict()) return dict().depth();
  return object() ? (*object())->depth : 0;
}

const void* Value::identity() const {
  if (is_text()) return std::get<Text>(data_).bytes.get();
  if (is_sequence()) return list_ptr().get();
  if (is_dict()) return &dict();
  if (is_undefined()) return &as_undefined();
  return object() ? object()->get() : nullptr;
}

void Dict::set(Budget& budget, Value key, Value value) {
  const size_t hash = hash_of(budget, key);
  depth_ = std::max(depth_, nested(std::max(key.depth(), value.depth())));
  if (const Entry* entry = locate(budget, key, hash)) {
    entries_[static_cast<size_t>(entry - entries_.data())].second = std::move(value);
    return;
  }
  index_.emplace(hash, static_cast<uint32_t>(entries_.size()));
  entries_.emplace_back(std::move(key), std::move(value));
}

const Value* Dict::find(Budget& budget, const Value& key) const {
  const size_t hash = hash_of(budget, key);
  const Entry* entry = locate(budget, key, hash);
  return entry ? &entry->second : nullptr;
}

const Value* Dict::find(std::string_view key) const {
  if (entries_.size() <= kLinearSearch) {
    for (const auto& [name, value] : entries_) {
      if (name.is_text() && name.text() == key) return &value;
    }
    return nullptr;
  }
  const auto [first, last] = index_.equal_range(std::hash<std::string_view>{}(key));
  for (auto it = first; it != last; ++it) {
    const auto& [name, value] = entries_[it->second];
    if (name.is_text() && name.text() == key) return &value;
  }
  return nullptr;
}

const Dict::Entry* Dict::locate(Budget& budget, const Value& key, size_t hash) const {
  const auto [first, last] = index_.equal_range(hash);
  for (auto it = first; it != last; ++it) {
    budget.spend(1);
    if (equal(budget, entries_[it->second].first, key)) return &entries_[it->second];
  }
  return nullptr;
}

void Dict::clear() {
  entries_.clear();
  index_.clear();
}

Value value_of(const Json& json, std::span<const std::string_view> written) {
  Budget unlimited;
  return value_of(unlimited, json, written);
}

bool equal(Budget& budget, const Value& a, const Value& b) {
  budget.spend(1);
  if (a.is_number() && b.is_number()) return compare_numbers(a, b) == 0;
  if (a.is_text() && b.is_text()) {
    if (a.text().size() != b.text().size()) return false;
    budget.spend_text(a.text().size());
    return a.text() == b.text();
  }
  if (a.is_sequence() && b.is_sequence()) {
    if (a.is_list() != b.is_list()) return false;
    const auto same = [&](const Value& x, const Value& y) { return identical(x, y) || equal(budget, x, y); };
    return std::ranges::equal(a.sequence().items, b.sequence().items, same);
  }
  if (a.is_dict() && b.is_dict()) return equal_dicts(budget, a.dict(), b.dict());
  if (a.object() && b.object()) return *a.object() == *b.object();
  return (a.is_none() && b.is_none()) || (a.is_undefined() && b.is_undefined());
}

bool identical(const Value& a, const Value& b) {
  if (a.type_name() != b.type_name()) return false;
  if (a.is_number()) return compare_numbers(a, b) == 0;
  if (a.is_text()) return a.text() == b.text();
  return a.identity() == b.identity();
}

bool ordered(Budget& budget, const Value& a, Order order, const Value& b) {
  budget.spend(1);
  for (const Value* side : {&a, &b}) {
    if (side->is_undefined()) throw Failure{side->as_undefined().message};
  }
  if (a.is_number() && b.is_number()) {
    const auto sign = compare_numbers(a, b);
    return sign && holds(order, *sign);
  }
  if (a.is_text() && b.is_text()) {
    budget.spend_text(std::min(a.text().size(), b.text().size()));
    return holds(order, a.text().compare(b.text()));
  }
  if (a.is_sequence() && b.is_sequence() && a.is_list() == b.is_list()) {
    const Values &x = a.sequence().items, &y = b.sequence().items;
    for (size_t i = 0; i < std::min(x.size(), y.size()); ++i) {
      if (!identical(x[i], y[i]) && !equal(budget, x[i], y[i])) return ordered(budget, x[i], order, y[i]);
    }
    return holds(order, x.size() < y.size() ? -1 : x.size() > y.size());
  }
  constexpr const char* kSigns[] = {"<", "<=", ">", ">="};
  fail("'{}' not supported between instances of '{}' and '{}'", kSigns[static_cast<size_t>(order)], a.type_name(),
       b.type_name());
}

bool contains(Budget& budget, const Value& container, const Value& item) {
  if (container.is_text()) {
    if (!item.is_text()) fail("'in <string>' requires string as left operand, not {}", item.type_name());
    budget.spend_text(container.text().size());
    return find_bytes(container.text(), item.text()) != std::string_view::npos;
  }
  if (container.is_dict()) return container.dict().find(budget, item) != nullptr;
  if (container.is_undefined()) return false;
  if (!is_iterable(container)) fail("argument of type '{}' is not iterable", container.type_name());
  for (const Value& other : items_of(budget, container)) {
    if (identical(other, item) || equal(budget, other, item)) return true;
  }
  return false;
}

size_t hash_of(Budget& budget, const Value& value) {
  budget.spend(1);
  if (value.is_text()) {
    budget.spend_text(value.text().size());
    return std::hash<std::string_view>{}(value.text());
  }
  if (value.is_integral()) return std::hash<int64_t>{}(value.integer());
  if (value.is_float()) {
    const double number = value.floating();
    const bool whole = std::fabs(number) < 0x1p63 && number == std::trunc(number);
    return whole ? std::hash<int64_t>{}(static_cast<int64_t>(number)) : std::hash<double>{}(number);
  }
  if (value.is_tuple()) {
    size_t hash = 0x345678;
    for (const Value& item : value.sequence().items) hash = std::rotl(hash, 7) * 31 + hash_of(budget, item);
    return hash;
  }
  if (value.is_list() || value.is_dict()) fail("unhashable type: '{}'", value.type_name());
  return value.object() ? std::hash<const void*>{}(value.identity()) : value.is_none();
}

int64_t length_of(const Value& value) {
  if (value.is_text()) return static_cast<int64_t>(count_code_points(value.text()));
  if (value.is_sequence()) return static_cast<int64_t>(value.sequence().items.size());
  if (value.is_dict()) return static_cast<int64_t>(value.dict().size());
  if (value.is_undefined()) return 0;
  if (value.object()) {
    if (const auto length = (*value.object())->length()) return *length;
  }
  fail("object of type '{}' has no len()", value.type_name());
}

bool is_iterable(const Value& value) {
  return value.is_text() || value.is_sequence() || value.is_dict() || value.is_undefined() ||
         (value.object() && (*value.object())->iterable());
}

Items items_of(Budget& budget, const Value& value) {
  if (value.is_sequence()) return Items(value.list_ptr());
  Values items;
  if (value.is_text()) {
    budget.spend(value.text().size());
    const std::string_view text = value.text();
    for (size_t start = 0; start < text.size();) {
      const size_t end = next_code_point(text, start);
      items.push_back(part_of_text(value, text.substr(start, end - start)));
      start = end;
    }
  } else if (value.is_dict()) {
    budget.spend(value.dict().size());
    for (const auto& [key, item] : value.dict().entries()) items.push_back(key);
  } else if (!value.is_undefined()) {
    std::optional<Values> visited;
    if (value.object()) visited = (*value.object())->iterate();
    if (!visited) fail("'{}' object is not iterable", value.type_name());
    budget.spend(visited->size());
    items = std::move(*visited);
  }
  return Items(Value(std::move(items)).list_ptr());
}

}  // namespace arc::jinja
