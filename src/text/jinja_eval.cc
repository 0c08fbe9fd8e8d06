// Evaluation of expressions.
#include "text/jinja_arith.h"
#include "text/jinja_ast.h"
#include "text/jinja_functions.h"
#include "text/jinja_print.h"
#include "text/jinja_renderer.h"

namespace arc::jinja {
namespace {

bool compare(Budget& budget, Comparison op, const Value& a, const Value& b) {
  switch (op) {
    case Comparison::eq:
      return equal(budget, a, b);
    case Comparison::ne:
      return !equal(budget, a, b);
    case Comparison::lt:
      return ordered(budget, a, Order::lt, b);
    case Comparison::gt:
      return ordered(budget, a, Order::gt, b);
    case Comparison::le:
      return ordered(budget, a, Order::le, b);
    case Comparison::ge:
      return ordered(budget, a, Order::ge, b);
    case Comparison::in:
      return contains(budget, b, a);
    case Comparison::not_in:
      return !contains(budget, b, a);
  }
  return false;
}

}  // namespace

Value Expr::eval(Renderer& renderer, Frame& frame) const {
  const Budget::Level level(renderer.budget());
  renderer.budget().spend(1);
  renderer.visit(*this);
  return evaluate(renderer, frame);
}

void Arguments::eval_into(CallArgs& args, Renderer& renderer, Frame& frame) const {
  for (const Expr* expr : positional) args.positional.push_back(expr->eval(renderer, frame));
  for (const auto& [name, expr] : named) args.named.emplace_back(name, expr->eval(renderer, frame));
  if (star) {
    const auto items = items_of(renderer.budget(), star->eval(renderer, frame));
    renderer.budget().spend(items.size());
    args.positional.insert(args.positional.end(), items.begin(), items.end());
  }
  if (!double_star) return;
  const Value mapping = double_star->eval(renderer, frame);
  if (!mapping.is_dict()) fail("argument after ** must be a mapping, not {}", mapping.type_name());
  for (const auto& [name, value] : mapping.dict().entries()) {
    if (!name.is_text()) fail("keywords must be strings");
    for (const auto& [given, expr] : named) {
      if (given == name.text()) fail("got multiple values for keyword argument {}", text_repr(given));
    }
    args.named.emplace_back(name.text(), value);
  }
}

Value ConstExpr::evaluate(Renderer&, Frame&) const {
  return value;
}

Value NameExpr::evaluate(Renderer&, Frame& frame) const {
  return frame.at(slot);
}

Value SequenceExpr::evaluate(Renderer& renderer, Frame& frame) const {
  Values values;
  values.reserve(items.size());
  for (const Expr* item : items) values.push_back(item->eval(renderer, frame));
  return Value(std::move(values), form);
}

Value DictExpr::evaluate(Renderer& renderer, Frame& frame) const {
  Dict dict;
  for (const auto& [key_expr, value_expr] : entries) {
    Value key = key_expr->eval(renderer, frame);
    Value value = value_expr->eval(renderer, frame);
    dict.set(renderer.budget(), std::move(key), std::move(value));
  }
  return dict;
}

Value BinaryExpr::evaluate(Renderer& renderer, Frame& frame) const {
  const Value a = left->eval(renderer, frame);
  const Value b = right->eval(renderer, frame);
  return arithmetic(renderer, op, a, b);
}

Value SignExpr::evaluate(Renderer& renderer, Frame& frame) const {
  return with_sign(operand->eval(renderer, frame), negative);
}

Value NotExpr::evaluate(Renderer& renderer, Frame& frame) const {
  return !operand->eval(renderer, frame).truth();
}

Value LogicExpr::evaluate(Renderer& renderer, Frame& frame) const {
  Value value = left->eval(renderer, frame);
  return value.truth() == is_or ? value : right->eval(renderer, frame);
}

Value ConcatExpr::evaluate(Renderer& renderer, Frame& frame) const {
  TextBuilder text;
  for (const Expr* part : parts) {
    renderer.append(text, renderer.text_of(part->eval(renderer, frame)));
  }
  return text.take();
}

Value CompareExpr::evaluate(Renderer& renderer, Frame& frame) const {
  Value left = first->eval(renderer, frame);
  for (const auto& [op, expr] : rest) {
    Value right = expr->eval(renderer, frame);
    if (!compare(renderer.budget(), op, left, right)) return false;
    left = std::move(right);
  }
  return true;
}

Value ConditionalExpr::evaluate(Renderer& renderer, Frame& frame) const {
  if (test->eval(renderer, frame).truth()) return yes->eval(renderer, frame);
  if (no) return no->eval(renderer, frame);
  return Value::undefined("the inline if-expression evaluated to false and no else section was defined.");
}

Value AttributeExpr::evaluate(Renderer& renderer, Frame& frame) const {
  return renderer.attribute(object->eval(renderer, frame), name);
}

Value ItemExpr::evaluate(Renderer& renderer, Frame& frame) const {
  const Value value = object->eval(renderer, frame);
  return renderer.item(value, key->eval(renderer, frame));
}

Value SliceExpr::evaluate(Renderer& renderer, Frame& frame) const {
  const Value value = object->eval(renderer, frame);
  std::optional<int64_t> numbers[3];
  for (int i = 0; i < 3; ++i) {
    if (bounds[i] == nullptr) continue;
    const Value bound = bounds[i]->eval(renderer, frame);
    if (bound.is_none()) continue;
    if (!bound.is_integral()) fail("slice indices must be integers or None or have an __index__ method");
    numbers[i] = bound.integer();
  }
  return renderer.slice(value, numbers);
}

Value CallExpr::call(Renderer& renderer, Frame& frame, std::optional<Value> caller) const {
  const Value function = callee->eval(renderer, frame);
  CallArgs args;
  arguments.eval_into(args, renderer, frame);
  if (caller) args.named.emplace_back("caller", std::move(*caller));
  renderer.visit(*this);
  return renderer.call(function, args);
}

Value CallExpr::evaluate(Renderer& renderer, Frame& frame) const {
  return call(renderer, frame, std::nullopt);
}

Value FilterExpr::apply(Renderer& renderer, Frame& frame, Value subject_value) const {
  CallArgs args;
  args.positional.push_back(std::move(subject_value));
  arguments.eval_into(args, renderer, frame);
  renderer.visit(*this);
  if (function == nullptr) throw Failure{fmt::format("no filter named '{}'", name), ErrorCode::unsupported};
  return with_origin_of(args, function(renderer, args));
}

Value FilterExpr::evaluate(Renderer& renderer, Frame& frame) const {
  return apply(renderer, frame, subject->eval(renderer, frame));
}

Value TestExpr::evaluate(Renderer& renderer, Frame& frame) const {
  CallArgs args;
  args.positional.push_back(subject->eval(renderer, frame));
  arguments.eval_into(args, renderer, frame);
  renderer.visit(*this);
  if (function == nullptr) throw Failure{fmt::format("no test named '{}'", name), ErrorCode::unsupported};
  return function(renderer, args);
}

}  // namespace arc::jinja
