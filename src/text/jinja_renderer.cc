#include "text/jinja_renderer.h"

#include "text/jinja_functions.h"
#include "text/jinja_objects.h"
#include "text/jinja_print.h"
#include "text/jinja_text.h"

namespace arc::jinja {
namespace {

Value slice_text(const Value& text, const SliceRange& range) {
  if (range.step == 1) return part_of_text(text, slice_view(text.text(), range));
  return with_origin_of({.positional = {text}}, Value(jinja::slice_text(text.text(), range), text.is_markup()));
}

// "'dict object' has no attribute 'x'", as Jinja names types.
Value no_such(const Value& object, const Value& key, Budget& budget) {
  const std::string type = object.is_none() ? "None" : object.type_name() + " object";
  return Value::undefined(key.is_text() ? fmt::format("'{}' has no attribute {}", type, text_repr(key.text()))
                                        : fmt::format("{} has no element {}", type, repr(budget, key)));
}

std::optional<Value> element(const Value& object, const Value& key, Budget& budget) {
  if (object.is_dict()) {
    if (key.is_list() || key.is_dict()) return std::nullopt;
    const Value* value = object.dict().find(budget, key);
    return value ? std::optional(*value) : std::nullopt;
  }
  if (object.object()) return (*object.object())->item(budget, key);
  if (!key.is_integral() || (!object.is_text() && !object.is_sequence())) return std::nullopt;
  const int64_t length = length_of(object);
  if (object.is_text()) budget.spend_text(object.text().size());
  const int64_t index = key.integer() < 0 ? key.integer() + length : key.integer();
  if (index < 0 || index >= length) return std::nullopt;
  if (object.is_sequence()) return object.sequence().items[static_cast<size_t>(index)];
  return slice_text(object, {.start = index, .count = 1});
}

}  // namespace

Renderer::Renderer(const Dict& variables, Budget budget, size_t max_output_bytes, const Clock& clock)
    : variables_(variables), budget_(budget), max_output_bytes_(max_output_bytes), clock_(clock) {}

Renderer::~Renderer() {
  for (const auto& object : kept_objects_) object->clear();
  for (const FramePtr& frame : kept_frames_) frame->slots.clear();
}

Rendering Renderer::run(const Program& program) {
  run_body(program.body, *this, enter(*program.scopes.front(), nullptr));
  return {.text = output_.take_bytes(), .from_request = output_.from_request()};
}

void Renderer::check_text(size_t n_bytes) const {
  if (n_bytes > max_output_bytes_) throw Failure{"the template makes a text that is too long", ErrorCode::resource};
}

void Renderer::append(TextBuilder& out, const Value& text) {
  check_text(out.size() + text.text().size());
  budget_.spend_text(text.text().size());
  budget_.spend(text.as_text().n_ranges());
  out.append(text);
}

void Renderer::write_written(std::string_view text) {
  check_text(output_.size() + text.size());
  budget_.spend_text(text.size());
  output_.append_written(text);
}

FramePtr Renderer::enter(const Scope& scope, const FramePtr& parent) {
  budget_.spend(1 + scope.variables().size());
  auto frame = std::make_shared<Frame>();
  frame->parent = parent;
  frame->slots.reserve(scope.variables().size());
  for (const Scope::Variable& variable : scope.variables()) {
    if (variable.load == Scope::Load::outer) {
      frame->slots.push_back(parent->at(variable.outer));
      continue;
    }
    std::optional<Value> value;
    if (variable.load == Scope::Load::context) {
      const Value* given = variables_.find(variable.name);
      value = given ? std::optional(*given) : find_global(variable.name);
    }
    frame->slots.push_back(std::move(value).value_or(variable.undefined));
  }
  return frame;
}

void Renderer::keep(const FramePtr& frame) {
  if (std::exchange(frame->is_kept, true)) return;
  kept_frames_.push_back(frame);
}

std::string Renderer::str(const Value& value) {
  return jinja::str(budget_, value);
}

Value Renderer::attribute(const Value& object, const std::string& name) {
  if (object.is_undefined()) throw Failure{object.as_undefined().message};
  std::optional<Value> found = object.object() ? (*object.object())->attribute(name) : find_method(object, name);
  if (!found && object.is_dict()) {
    if (const Value* value = object.dict().find(name)) found = *value;
  }
  return found ? std::move(*found) : no_such(object, name, budget_);
}

Value Renderer::item(const Value& object, const Value& key) {
  if (object.is_undefined()) throw Failure{object.as_undefined().message};
  std::optional<Value> found = element(object, key, budget_);
  if (!found && key.is_text()) {
    found = object.object() ? (*object.object())->attribute(key.text()) : find_method(object, key.text());
  }
  return found ? std::move(*found) : no_such(object, key, budget_);
}

Value Renderer::slice(const Value& object, const std::optional<int64_t> (&bounds)[3]) {
  if (object.is_undefined()) throw Failure{object.as_undefined().message};
  if (bounds[2] == 0) fail("slice step cannot be zero");
  if (const auto* range = object.object_as<Range>()) return range->slice(bounds);
  if (object.is_dict()) fail("unhashable type: 'slice'");
  if (!object.is_text() && !object.is_sequence()) fail("'{}' object is not subscriptable", object.type_name());
  const SliceRange part = slice_range(length_of(object), bounds[0], bounds[1], bounds[2].value_or(1));
  if (object.is_text()) {
    budget_.spend_text(object.text().size());
    return slice_text(object, part);
  }
  budget_.spend(static_cast<uint64_t>(part.count));
  Values items;
  items.reserve(static_cast<size_t>(part.count));
  for (int64_t i = 0; i < part.count; ++i) {
    items.push_back(object.sequence().items[static_cast<size_t>(part.start + i * part.step)]);
  }
  return Value(std::move(items), object.is_list() ? List::Form::list : List::Form::tuple);
}

Value Renderer::call(const Value& callee, const CallArgs& args) {
  if (callee.is_undefined()) throw Failure{callee.as_undefined().message};
  if (!callee.object()) fail("'{}' object is not callable", callee.type_name());
  const std::shared_ptr<Object> object = *callee.object();  // the call may drop the last other reference
  return object->call(*this, args);
}

}  // namespace arc::jinja
