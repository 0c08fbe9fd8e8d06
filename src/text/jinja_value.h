// Values of the template language: the Python objects that a chat template can see, with Python's equality, order,
// truth and hashing.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "fmt/format.h"

#include "base/error.h"
#include "base/json.h"
#include "text/byte_range.h"

namespace arc::jinja {

// Why a rendering stops. The template's name, line and column are added where it is caught.
struct Failure {
  std::string message;
  ErrorCode code = ErrorCode::invalid_argument;
};

template <typename... Args>
[[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) {
  throw Failure{fmt::format(format, std::forward<Args>(args)...)};
}

// What one rendering may use. A step is a node evaluated, an item visited, or 64 bytes of text read or written.
class Budget {
 public:
  explicit Budget(int64_t steps = INT64_MAX, int depth = 1000) : steps_(steps), depth_(depth) {}

  void spend(uint64_t steps);
  void spend_text(size_t bytes) { spend(1 + bytes / 64); }

  // One level of recursion for as long as it lives.
  class Level {
   public:
    explicit Level(Budget& budget);
    ~Level() { ++budget_.depth_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;

   private:
    Budget& budget_;
  };

 private:
  int64_t steps_;
  int depth_;
};

class Value;
class Dict;
class Object;

using Values = std::vector<Value>;

// Who wrote a text. What nobody keeps track of counts as the request's.
enum class Origin : uint8_t { request, chat_template, both };

// UTF-8. `markup` is set by the filters `safe` and `escape`: what is then added to it gets escaped.
struct Text {
  std::shared_ptr<const std::string> bytes;
  bool markup = false;
  Origin origin = Origin::request;
  std::shared_ptr<const ByteRanges> from_request;  // with Origin::both

  size_t n_ranges() const { return from_request ? from_request->size() : 0; }
};

// A list, a tuple, or a pair of the filter `groupby` (a tuple with the names `grouper` and `list`).
struct List {
  enum class Form : uint8_t { list, tuple, group };
  Values items;
  Form form = Form::list;
  int depth = 1;
};

// A name or attribute that does not exist. Printing gives nothing; most other uses fail with `message`.
struct Undefined {
  std::string message;
};

// One Python object. Copies share what they hold, and nothing but namespaces and loops can change.
class Value {
 public:
  using ListPtr = std::shared_ptr<const List>;
  using DictPtr = std::shared_ptr<const Dict>;
  using ObjectPtr = std::shared_ptr<Object>;
  using UndefinedPtr = std::shared_ptr<const Undefined>;

  Value() = default;  // None
  template <std::same_as<bool> Bool>
  Value(Bool value) : data_(value) {}
  template <std::integral Int>
    requires(!std::same_as<Int, bool>)
  Value(Int value) : data_(static_cast<int64_t>(value)) {}
  Value(double value) : data_(value) {}
  Value(std::string text, bool markup = false)
      : data_(Text{std::make_shared<const std::string>(std::move(text)), markup}) {}
  Value(std::string_view text) : Value(std::string(text)) {}
  Value(const char* text) : Value(std::string(text)) {}
  Value(Text text) : data_(std::move(text)) {}
  Value(Values items, List::Form form = List::Form::list);
  Value(Dict dict);
  template <std::derived_from<Object> T>
  Value(std::shared_ptr<T> object) : data_(ObjectPtr(std::move(object))) {}

  static Value tuple(Values items) { return Value(std::move(items), List::Form::tuple); }
  static Value undefined(std::string message);
  // A text that the template wrote.
  static Value written(std::string text);

  bool is_none() const { return std::holds_alternative<std::monostate>(data_); }
  bool is_undefined() const { return std::holds_alternative<UndefinedPtr>(data_); }
  bool is_bool() const { return std::holds_alternative<bool>(data_); }
  bool is_text() const { return std::holds_alternative<Text>(data_); }
  bool is_markup() const { return is_text() && std::get<Text>(data_).markup; }
  bool is_sequence() const { return std::holds_alternative<ListPtr>(data_); }  // a list or a tuple
  bool is_list() const { return is_sequence() && sequence().form == List::Form::list; }
  bool is_tuple() const { return is_sequence() && !is_list(); }
  bool is_dict() const { return std::holds_alternative<DictPtr>(data_); }
  bool is_float() const { return std::holds_alternative<double>(data_); }
  bool is_integral() const { return is_bool() || std::holds_alternative<int64_t>(data_); }
  bool is_number() const { return is_integral() || is_float(); }

  // Each of these needs its own kind.
  bool boolean() const { return std::get<bool>(data_); }
  int64_t integer() const;  // of an int or a bool
  double floating() const;  // of any number
  const std::string& text() const { return *std::get<Text>(data_).bytes; }
  const Text& as_text() const { return std::get<Text>(data_); }
  const List& sequence() const { return *std::get<ListPtr>(data_); }
  const ListPtr& list_ptr() const { return std::get<ListPtr>(data_); }
  const Dict& dict() const { return *std::get<DictPtr>(data_); }
  const Undefined& as_undefined() const { return *std::get<UndefinedPtr>(data_); }

  const ObjectPtr* object() const { return std::get_if<ObjectPtr>(&data_); }
  template <typename T>
  T* object_as() const {
    const ObjectPtr* object = this->object();
    return object ? dynamic_cast<T*>(object->get()) : nullptr;
  }

  bool truth() const;
  std::string type_name() const;  // as Python says it: "str", "NoneType"
  int depth() const;              // levels of containers
  const void* identity() const;   // of shared contents; null for the others

 private:
  std::variant<std::monostate, bool, int64_t, double, Text, ListPtr, DictPtr, ObjectPtr, UndefinedPtr> data_;
};

// A dict: order of insertion, keys by Python's equality (1, 1.0 and True are one key).
class Dict {
 public:
  using Entry = std::pair<Value, Value>;

  // Replaces the value of a key that is there. Unhashable keys fail.
  void set(Budget& budget, Value key, Value value);
  const Value* find(Budget& budget, const Value& key) const;
  const Value* find(std::string_view key) const;
  const std::vector<Entry>& entries() const { return entries_; }
  size_t size() const { return entries_.size(); }
  int depth() const { return depth_; }
  void clear();

 private:
  const Entry* locate(Budget& budget, const Value& key, size_t hash) const;

  std::vector<Entry> entries_;
  std::multimap<size_t, uint32_t> index_;  // by hash; no buckets that chosen keys could fill
  int depth_ = 1;
};

class Renderer;

// The arguments of one call.
struct CallArgs {
  Values positional;
  std::vector<std::pair<std::string, Value>> named;
};

// Everything that is not plain data: functions, macros, namespaces, loops, ranges, views, iterators.
class Object : public std::enable_shared_from_this<Object> {
 public:
  virtual ~Object() = default;
  virtual std::string type_name() const = 0;
  virtual std::string repr(Budget&) { return "<" + type_name() + " object>"; }
  virtual std::optional<Value> attribute(std::string_view) { return std::nullopt; }
  virtual std::optional<Value> item(Budget&, const Value&) { return std::nullopt; }  // x[key]
  virtual bool has_items() const { return false; }                                   // x[...] means something
  virtual std::optional<Values> iterate() { return std::nullopt; }                   // uses up an iterator
  virtual bool iterable() const { return false; }
  virtual std::optional<int64_t> length() { return std::nullopt; }
  virtual bool callable() const { return false; }
  virtual Value call(Renderer&, const CallArgs&) { fail("'{}' object is not callable", type_name()); }
  virtual void clear() {}  // lets go of what it holds

  int depth = 0;  // levels of containers that it holds
};

// JSON as Python's json module reads it. Its texts have Origin::request unless they are one of `written`. Integers
// outside 64 bits fail.
Value value_of(const Json& json, std::span<const std::string_view> written = {});

bool equal(Budget& budget, const Value& a, const Value& b);
bool identical(const Value& a, const Value& b);  // `is`; equal scalars count as one object
enum class Order { lt, le, gt, ge };
bool ordered(Budget& budget, const Value& a, Order order, const Value& b);  // fails for types without an order
inline bool less(Budget& budget, const Value& a, const Value& b) {
  return ordered(budget, a, Order::lt, b);
}
bool contains(Budget& budget, const Value& container, const Value& item);
size_t hash_of(Budget& budget, const Value& value);

// len(); fails without one. Undefined has length 0.
int64_t length_of(const Value& value);
bool is_iterable(const Value& value);

// The items that a `for` visits, shared with the list that they come from.
class Items {
 public:
  explicit Items(Value::ListPtr list) : list_(std::move(list)) {}
  auto begin() const { return list_->items.begin(); }
  auto end() const { return list_->items.end(); }
  size_t size() const { return list_->items.size(); }
  const Value& operator[](size_t i) const { return list_->items[i]; }
  const Values& values() const { return list_->items; }
  int depth() const { return list_->depth; }

 private:
  Value::ListPtr list_;
};

// A dict gives its keys, a text its characters. Fails for what cannot be iterated.
Items items_of(Budget& budget, const Value& value);

// Checks that a container may hold something of `depth` levels.
int nested(int depth);

}  // namespace arc::jinja
