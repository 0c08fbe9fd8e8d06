#include "text/jinja_objects.h"

#include <algorithm>

#include "text/jinja_print.h"
#include "text/jinja_renderer.h"
#include "text/jinja_text.h"

namespace arc::jinja {
namespace {

int depth_of(const Values& items) {
  int depth = 0;
  for (const Value& item : items) depth = std::max(depth, item.depth());
  return nested(depth);
}

const Method kCyclerMethods[] = {
    {"next",
     [](Renderer&, const Value& self, const CallArgs& args) {
       const Bound bound("next", args, {});
       return self.object_as<Cycler>()->next();
     }},
    {"reset",
     [](Renderer&, const Value& self, const CallArgs& args) {
       const Bound bound("reset", args, {});
       return self.object_as<Cycler>()->reset();
     }},
};

const Method kLoopMethods[] = {
    {"cycle", [](Renderer&, const Value& self, const CallArgs& args) { return self.object_as<Loop>()->cycle(args); }},
    {"changed", [](Renderer& renderer, const Value& self,
                   const CallArgs& args) { return self.object_as<Loop>()->changed(renderer.budget(), args); }},
};

// The texts among `args` escaped, those in lists too.
Value escaped(const Value& value) {
  if (value.is_text()) return value.is_markup() ? value : Value(escape_html(value.text()), true);
  if (!value.is_sequence()) return value;
  Values items;
  for (const Value& item : value.sequence().items) items.push_back(escaped(item));
  return Value(std::move(items), value.sequence().form);
}

// A text, or the texts of a list, as markup.
Value marked(const Value& value) {
  if (value.is_text()) return as_markup(value);
  if (!value.is_sequence()) return value;
  Values items;
  for (const Value& item : value.sequence().items) items.push_back(marked(item));
  return Value(std::move(items), value.sequence().form);
}

}  // namespace

Value BoundMethod::call(Renderer& renderer, const CallArgs& args) {
  if (self_.is_text()) renderer.budget().spend_text(self_.text().size());
  const bool special = self_.is_markup() && method_.markup != MarkupRule::plain;
  CallArgs safe = args;
  if (special && method_.markup == MarkupRule::escape) {
    for (Value& value : safe.positional) value = escaped(value);
  }
  Value result = method_.code(renderer, self_, safe);
  if (result.is_text()) {
    safe.positional.push_back(self_);
    result = with_origin_of(safe, std::move(result));
    renderer.check_text(result.text().size());
    renderer.budget().spend_text(result.text().size());
  }
  return special ? marked(result) : result;
}

std::string Range::repr(Budget&) {
  return step_ == 1 ? fmt::format("range({}, {})", start_, stop_)
                    : fmt::format("range({}, {}, {})", start_, stop_, step_);
}

std::optional<Value> Range::item(Budget&, const Value& key) {
  if (!key.is_integral()) return std::nullopt;
  const int64_t index = key.integer() < 0 ? key.integer() + count_ : key.integer();
  if (index < 0 || index >= count_) return std::nullopt;
  return start_ + index * step_;
}

std::optional<Values> Range::iterate() {
  Values items;
  for (int64_t i = 0; i < count_; ++i) items.emplace_back(start_ + i * step_);
  return items;
}

Value Range::slice(const std::optional<int64_t> (&bounds)[3]) const {
  const SliceRange part = slice_range(count_, bounds[0], bounds[1], bounds[2].value_or(1));
  int64_t start = 0, stop = 0, step = 0;
  const bool overflowed =
      __builtin_mul_overflow(part.start, step_, &start) || __builtin_add_overflow(start, start_, &start) ||
      __builtin_mul_overflow(part.stop, step_, &stop) || __builtin_add_overflow(stop, start_, &stop) ||
      __builtin_mul_overflow(part.step, step_, &step);
  if (overflowed) fail("an integer does not fit in 64 bits");
  return std::make_shared<Range>(start, stop, step, part.count);
}

Iterator::Iterator(Values items) : items_(std::move(items)) {
  depth = depth_of(items_);
  std::ranges::reverse(items_);
}

std::optional<Values> Iterator::iterate() {
  std::ranges::reverse(items_);
  return std::exchange(items_, {});
}

std::optional<Value> Iterator::next() {
  if (items_.empty()) return std::nullopt;
  Value item = std::move(items_.back());
  items_.pop_back();
  return item;
}

std::string DictView::type_name() const {
  return part_ == Part::keys ? "dict_keys" : part_ == Part::values ? "dict_values" : "dict_items";
}

std::string DictView::repr(Budget& budget) {
  return type_name() + "(" + jinja::repr(budget, items()) + ")";
}

Values DictView::items() const {
  Values items;
  for (const auto& [key, value] : dict_.dict().entries()) {
    items.push_back(part_ == Part::keys ? key : part_ == Part::values ? value : Value::tuple({key, value}));
  }
  return items;
}

std::string Namespace::repr(Budget& budget) {
  return "<Namespace " + jinja::repr(budget, attributes_) + ">";
}

std::optional<Value> Namespace::attribute(std::string_view name) {
  const Value* value = attributes_.find(name);
  return value ? std::optional(*value) : std::nullopt;
}

Cycler::Cycler(Values items) : items_(std::move(items)) {
  if (items_.empty()) fail("at least one item has to be provided");
  depth = depth_of(items_);
}

std::optional<Value> Cycler::attribute(std::string_view name) {
  if (name == "current") return items_[at_];
  for (const Method& method : kCyclerMethods) {
    if (method.name == name) return std::make_shared<BoundMethod>(shared_from_this(), method);
  }
  return std::nullopt;
}

Value Cycler::next() {
  return items_[std::exchange(at_, (at_ + 1) % items_.size())];
}

Value Cycler::reset() {
  at_ = 0;
  return {};
}

Value Joiner::call(Renderer&, const CallArgs& args) {
  const Bound bound("joiner", args, {});
  return std::exchange(used_, true) ? separator_ : Value("");
}

std::string Macro::repr(Budget&) {
  return code_.name.empty() ? "<Macro anonymous>" : fmt::format("<Macro {}>", text_repr(code_.name));
}

std::optional<Value> Macro::attribute(std::string_view name) {
  if (name == "name") return code_.name.empty() ? Value() : Value(code_.name);
  if (name == "catch_kwargs") return code_.kwargs_slot.index >= 0;
  if (name == "catch_varargs") return code_.varargs_slot.index >= 0;
  if (name == "caller") return code_.caller_slot.index >= 0;
  if (name != "arguments") return std::nullopt;
  Values names;
  for (const auto& parameter : code_.parameters) names.emplace_back(parameter.name);
  return Value::tuple(std::move(names));
}

Value Macro::call(Renderer& renderer, const CallArgs& args) {
  const Budget::Level level(renderer.budget());
  const FramePtr frame = renderer.enter(*code_.scope, frame_);
  auto named = args.named;
  const auto take = [&named](std::string_view name) -> std::optional<Value> {
    const auto it = std::ranges::find(named, name, &std::pair<std::string, Value>::first);
    if (it == named.end()) return std::nullopt;
    std::optional<Value> value = std::move(it->second);
    named.erase(it);
    return value;
  };
  std::vector<const MacroCode::Parameter*> missing;
  for (size_t i = 0; i < code_.parameters.size(); ++i) {
    const MacroCode::Parameter& parameter = code_.parameters[i];
    std::optional<Value> value;
    value = i < args.positional.size() ? args.positional[i] : take(parameter.name);
    if (value)
      frame->at(parameter.slot) = std::move(*value);
    else
      missing.push_back(&parameter);
  }
  if (code_.caller_slot.index >= 0) {
    const std::optional<Value> caller = take("caller");
    const bool given = caller && !caller->is_none();
    frame->at(code_.caller_slot) = given ? *caller : Value::undefined("No caller defined");
  }
  if (code_.kwargs_slot.index >= 0) {
    Dict rest;
    for (auto& [name, value] : named) rest.set(renderer.budget(), name, value);
    frame->at(code_.kwargs_slot) = std::move(rest);
  } else if (!named.empty()) {
    fail("macro {} takes no keyword argument {}", text_repr(code_.name), text_repr(named[0].first));
  }
  const size_t n_named = std::min(code_.parameters.size(), args.positional.size());
  if (code_.varargs_slot.index >= 0) {
    frame->at(code_.varargs_slot) =
        Value::tuple(Values(args.positional.begin() + static_cast<ptrdiff_t>(n_named), args.positional.end()));
  } else if (args.positional.size() > n_named) {
    fail("macro {} takes not more than {} argument(s)", text_repr(code_.name), code_.parameters.size());
  }
  for (const MacroCode::Parameter* parameter : missing) {
    frame->at(parameter->slot) = Value::undefined(fmt::format("parameter '{}' was not provided", parameter->name));
    if (parameter->fallback) frame->at(parameter->slot) = parameter->fallback->eval(renderer, *frame);
  }
  Renderer::Capture capture(renderer);
  run_body(code_.body, renderer, frame);
  return capture.take();
}

Loop::Loop(Items items, bool has_length, int level, Accept accept, Recurse recurse)
    : items_(std::move(items)),
      has_length_(has_length && !accept),
      level_(level),
      accept_(std::move(accept)),
      recurse_(std::move(recurse)) {
  depth = nested(items_.depth());
}

std::optional<Value> Loop::pull() {
  if (!ahead_.empty()) {
    Value item = std::move(ahead_.back());
    ahead_.pop_back();
    return item;
  }
  while (at_ < items_.size()) {
    const Value& item = items_[at_++];
    if (!accept_ || accept_(item)) return item;
  }
  return std::nullopt;
}

const std::optional<Value>& Loop::peek() {
  if (!next_) next_ = pull();
  return next_;
}

std::optional<Value> Loop::advance() {
  std::optional<Value> item = next_ ? std::exchange(next_, std::nullopt) : pull();
  if (!item) return std::nullopt;
  ++index0_;
  previous_ = std::exchange(current_, item);
  return item;
}

int64_t Loop::count() {
  if (has_length_) return static_cast<int64_t>(items_.size());
  if (!length_) {
    Values rest;
    while (std::optional<Value> item = pull()) rest.push_back(std::move(*item));
    length_ = static_cast<int64_t>(rest.size()) + index() + next_.has_value();
    std::ranges::reverse(rest);
    ahead_ = std::move(rest);
  }
  return *length_;
}

std::optional<int64_t> Loop::length() {
  return count();
}

std::string Loop::repr(Budget&) {
  return fmt::format("<LoopContext {}/{}>", index(), count());
}

std::optional<Value> Loop::attribute(std::string_view name) {
  if (name == "index") return index();
  if (name == "index0") return index0_;
  if (name == "first") return index0_ == 0;
  if (name == "last") return !peek().has_value();
  if (name == "length") return count();
  if (name == "revindex") return count() - index0_;
  if (name == "revindex0") return count() - index();
  if (name == "depth") return level_ + 1;
  if (name == "depth0") return level_;
  if (name == "previtem") return index0_ > 0 ? *previous_ : Value::undefined("there is no previous item");
  if (name == "nextitem") return peek() ? *peek() : Value::undefined("there is no next item");
  for (const Method& method : kLoopMethods) {
    if (method.name == name) return std::make_shared<BoundMethod>(shared_from_this(), method);
  }
  return std::nullopt;
}

Value Loop::cycle(const CallArgs& args) const {
  if (!args.named.empty()) fail("cycle() takes no keyword arguments");
  if (args.positional.empty()) fail("no items for cycling given");
  return args.positional[static_cast<size_t>(index0_) % args.positional.size()];
}

Value Loop::changed(Budget& budget, const CallArgs& args) {
  if (!args.named.empty()) fail("changed() takes no keyword arguments");
  const bool same = last_changed_ && equal(budget, Value::tuple(*last_changed_), Value::tuple(args.positional));
  if (!same) last_changed_ = args.positional;
  return !same;
}

Value Loop::call(Renderer&, const CallArgs& args) {
  const Bound bound("loop", args, {"iterable"}, 1);
  if (!recurse_) fail("The loop must have the 'recursive' marker to be called recursively.");
  return recurse_(bound[0], level_ + 1);
}

void Loop::clear() {
  items_ = Items(std::make_shared<const List>());
  accept_ = nullptr;
  recurse_ = nullptr;
  ahead_.clear();
  previous_ = current_ = next_ = std::nullopt;
  last_changed_ = std::nullopt;
}

}  // namespace arc::jinja
