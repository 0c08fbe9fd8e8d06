// Values that are not plain data.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja_ast.h"
#include "text/jinja_functions.h"
#include "text/jinja_value.h"

namespace arc::jinja {

// A global function.
class Function final : public Object {
 public:
  using Code = Value (*)(Renderer&, const CallArgs&);
  explicit Function(Code code) : code_(code) {}
  std::string type_name() const override { return "function"; }
  bool callable() const override { return true; }
  Value call(Renderer& renderer, const CallArgs& args) override { return code_(renderer, args); }

 private:
  Code code_;
};

// x.method
class BoundMethod final : public Object {
 public:
  BoundMethod(Value self, const Method& method) : self_(std::move(self)), method_(method) {
    depth = nested(self_.depth());
  }
  std::string type_name() const override { return "builtin_function_or_method"; }
  bool callable() const override { return true; }
  Value call(Renderer& renderer, const CallArgs& args) override;

 private:
  Value self_;
  const Method& method_;  // of a table
};

// range(start, stop, step), which has `count` integers.
class Range final : public Object {
 public:
  Range(int64_t start, int64_t stop, int64_t step, int64_t count)
      : start_(start), stop_(stop), step_(step), count_(count) {}
  std::string type_name() const override { return "range"; }
  std::string repr(Budget& budget) override;
  bool has_items() const override { return true; }
  std::optional<Value> item(Budget& budget, const Value& key) override;
  std::optional<Values> iterate() override;
  bool iterable() const override { return true; }
  std::optional<int64_t> length() override { return count_; }
  Value slice(const std::optional<int64_t> (&bounds)[3]) const;

 private:
  int64_t start_, stop_, step_, count_;
};

// What a generator gives: its items once.
class Iterator final : public Object {
 public:
  explicit Iterator(Values items);
  std::string type_name() const override { return "generator"; }
  std::optional<Values> iterate() override;
  bool iterable() const override { return true; }
  std::optional<Value> next();

 private:
  Values items_;
};

// dict.keys(), dict.values(), dict.items()
class DictView final : public Object {
 public:
  enum class Part { keys, values, items };
  DictView(Value dict, Part part) : dict_(std::move(dict)), part_(part) { depth = nested(dict_.depth()); }
  std::string type_name() const override;
  std::string repr(Budget& budget) override;
  std::optional<Values> iterate() override { return items(); }
  bool iterable() const override { return true; }
  std::optional<int64_t> length() override { return static_cast<int64_t>(dict_.dict().size()); }

 private:
  Values items() const;

  Value dict_;
  Part part_;
};

class Namespace final : public Object {
 public:
  explicit Namespace(Dict attributes) : attributes_(std::move(attributes)) {}
  std::string type_name() const override { return "Namespace"; }
  std::string repr(Budget& budget) override;
  std::optional<Value> attribute(std::string_view name) override;
  void set(Budget& budget, const std::string& name, const Value& value) { attributes_.set(budget, name, value); }
  void clear() override { attributes_.clear(); }

 private:
  Dict attributes_;
};

class Cycler final : public Object {
 public:
  explicit Cycler(Values items);
  std::string type_name() const override { return "Cycler"; }
  std::optional<Value> attribute(std::string_view name) override;
  Value next();
  Value reset();

 private:
  Values items_;
  size_t at_ = 0;
};

class Joiner final : public Object {
 public:
  explicit Joiner(Value separator) : separator_(std::move(separator)) {}
  std::string type_name() const override { return "Joiner"; }
  bool callable() const override { return true; }
  Value call(Renderer& renderer, const CallArgs& args) override;

 private:
  Value separator_;
  bool used_ = false;
};

// A macro or the caller of a call block, with the variables around its definition.
class Macro final : public Object {
 public:
  Macro(const MacroCode& code, FramePtr frame) : code_(code), frame_(std::move(frame)) {}
  std::string type_name() const override { return "Macro"; }
  std::string repr(Budget& budget) override;
  std::optional<Value> attribute(std::string_view name) override;
  bool callable() const override { return true; }
  Value call(Renderer& renderer, const CallArgs& args) override;

 private:
  const MacroCode& code_;
  FramePtr frame_;
};

// The items of one `for` in turn, and the template's `loop`.
class Loop final : public Object {
 public:
  // `accept`: the loop's own condition. `recurse`: renders the body over other items, for recursive loops.
  using Accept = std::function<bool(const Value&)>;
  using Recurse = std::function<Value(const Value& iterable, int depth)>;
  Loop(Items items, bool has_length, int level, Accept accept, Recurse recurse);

  // Moves to the next item.
  std::optional<Value> advance();
  Value cycle(const CallArgs& args) const;
  Value changed(Budget& budget, const CallArgs& args);

  std::string type_name() const override { return "LoopContext"; }
  std::string repr(Budget& budget) override;
  std::optional<Value> attribute(std::string_view name) override;
  std::optional<int64_t> length() override;
  bool callable() const override { return true; }
  Value call(Renderer& renderer, const CallArgs& args) override;
  void clear() override;

 private:
  std::optional<Value> pull();
  const std::optional<Value>& peek();
  int64_t count();
  int64_t index() const { return index0_ + 1; }
  Items items_;
  size_t at_ = 0;
  bool has_length_;
  int level_;
  Accept accept_;
  Recurse recurse_;
  int64_t index0_ = -1;
  std::vector<Value> ahead_;  // accepted already, in reverse order
  std::optional<Value> previous_, current_, next_;
  std::optional<Values> last_changed_;
  std::optional<int64_t> length_;
};

}  // namespace arc::jinja
