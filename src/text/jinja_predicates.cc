// Tests: `x is name(...)`.
#include <algorithm>

#include "text/jinja_arith.h"
#include "text/jinja_functions.h"
#include "text/jinja_objects.h"
#include "text/jinja_renderer.h"
#include "text/jinja_text.h"

namespace arc::jinja {
namespace {

// The tested value, for tests without arguments.
const Value& only(const CallArgs& args) {
  const Bound bound("test", args, {"value"}, 1);
  return bound[0];
}

bool has_remainder(Renderer& renderer, const Value& value, const Value& divisor, int64_t remainder) {
  return equal(renderer.budget(), arithmetic(renderer, Operator::modulo, value, divisor), remainder);
}

bool is_odd(Renderer& renderer, const CallArgs& args) {
  return has_remainder(renderer, only(args), 2, 1);
}

bool is_even(Renderer& renderer, const CallArgs& args) {
  return has_remainder(renderer, only(args), 2, 0);
}

bool is_divisible(Renderer& renderer, const CallArgs& args) {
  const Bound bound("divisibleby", args, {"value", "num"}, 2);
  return has_remainder(renderer, bound[0], bound[1], 0);
}

template <bool (Value::*is)() const>
bool is_type(Renderer&, const CallArgs& args) {
  return (only(args).*is)();
}

bool is_defined(Renderer&, const CallArgs& args) {
  return !only(args).is_undefined();
}

template <bool wanted>
bool is_boolean(Renderer&, const CallArgs& args) {
  const Value& value = only(args);
  return value.is_bool() && value.boolean() == wanted;
}

bool is_integer(Renderer&, const CallArgs& args) {
  return only(args).is_integral() && !only(args).is_bool();
}

bool is_sequence(Renderer&, const CallArgs& args) {
  const Value& value = only(args);
  if (value.object()) return (*value.object())->has_items();
  return value.is_text() || value.is_sequence() || value.is_dict() || value.is_undefined();
}

bool is_iterable_test(Renderer&, const CallArgs& args) {
  return is_iterable(only(args));
}

bool is_callable(Renderer&, const CallArgs& args) {
  const Value& value = only(args);
  return value.is_undefined() || (value.object() && (*value.object())->callable());
}

template <bool (*test)(std::string_view)>
bool is_case(Renderer& renderer, const CallArgs& args) {
  return test(renderer.str(only(args)));
}

bool is_same(Renderer&, const CallArgs& args) {
  const Bound bound("sameas", args, {"value", "other"}, 2);
  return identical(bound[0], bound[1]);
}

bool is_in(Renderer& renderer, const CallArgs& args) {
  const Bound bound("in", args, {"value", "seq"}, 2);
  return contains(renderer.budget(), bound[1], bound[0]);
}

bool is_filter(Renderer&, const CallArgs& args) {
  const Value& value = only(args);
  return value.is_text() && find_filter(value.text()) != nullptr;
}

bool is_test(Renderer&, const CallArgs& args) {
  const Value& value = only(args);
  return value.is_text() && find_test(value.text()) != nullptr;
}

template <bool wanted>
bool is_equal(Renderer& renderer, const CallArgs& args) {
  const Bound bound("eq", args, {"", ""}, 2);
  return equal(renderer.budget(), bound[0], bound[1]) == wanted;
}

template <Order order>
bool is_ordered(Renderer& renderer, const CallArgs& args) {
  const Bound bound("comparison", args, {"", ""}, 2);
  return ordered(renderer.budget(), bound[0], order, bound[1]);
}

struct Test {
  std::string_view name;
  TestFunction function = nullptr;
};

constexpr Test kTests[] = {
    {"defined", is_defined},
    {"undefined", is_type<&Value::is_undefined>},
    {"none", is_type<&Value::is_none>},
    {"string", is_type<&Value::is_text>},
    {"mapping", is_type<&Value::is_dict>},
    {"iterable", is_iterable_test},
    {"sequence", is_sequence},
    {"number", is_type<&Value::is_number>},
    {"integer", is_integer},
    {"float", is_type<&Value::is_float>},
    {"boolean", is_type<&Value::is_bool>},
    {"true", is_boolean<true>},
    {"false", is_boolean<false>},
    {"callable", is_callable},
    {"sameas", is_same},
    {"in", is_in},
    {"==", is_equal<true>},
    {"eq", is_equal<true>},
    {"equalto", is_equal<true>},
    {"!=", is_equal<false>},
    {"ne", is_equal<false>},
    {"<", is_ordered<Order::lt>},
    {"lt", is_ordered<Order::lt>},
    {"lessthan", is_ordered<Order::lt>},
    {"<=", is_ordered<Order::le>},
    {"le", is_ordered<Order::le>},
    {">", is_ordered<Order::gt>},
    {"gt", is_ordered<Order::gt>},
    {"greaterthan", is_ordered<Order::gt>},
    {">=", is_ordered<Order::ge>},
    {"ge", is_ordered<Order::ge>},
    {"odd", is_odd},
    {"even", is_even},
    {"divisibleby", is_divisible},
    {"lower", is_case<is_lower_text>},
    {"upper", is_case<is_upper_text>},
    {"escaped", is_type<&Value::is_markup>},
    {"filter", is_filter},
    {"test", is_test},
};

}  // namespace

TestFunction find_test(std::string_view name) {
  const auto* it = std::ranges::find(kTests, name, &Test::name);
  return it != std::end(kTests) ? it->function : nullptr;
}

}  // namespace arc::jinja
