#include "text/jinja_arith.h"

#include <charconv>
#include <cmath>

#include "text/jinja_format.h"
#include "text/jinja_origin.h"
#include "text/jinja_text.h"

namespace arc::jinja {
namespace {

constexpr const char* kOverflow = "an integer does not fit in 64 bits";

std::string_view symbol(Operator op) {
  constexpr std::string_view kSymbols[] = {"+", "-", "*", "/", "//", "%", "** or pow()"};
  return kSymbols[static_cast<size_t>(op)];
}

int64_t checked(bool overflowed, int64_t result) {
  if (overflowed) fail("{}", kOverflow);
  return result;
}

int64_t multiply(int64_t a, int64_t b) {
  int64_t result = 0;
  const bool overflowed = __builtin_mul_overflow(a, b, &result);
  return checked(overflowed, result);
}

int64_t floor_divide(int64_t a, int64_t b) {
  if (b == 0) fail("integer division or modulo by zero");
  if (b == -1) return checked(a == INT64_MIN, a == INT64_MIN ? 0 : -a);
  return a / b - (a % b != 0 && (a < 0) != (b < 0));
}

int64_t modulo(int64_t a, int64_t b) {
  if (b == 0) fail("integer division or modulo by zero");
  if (b == -1) return 0;
  const int64_t rest = a % b;
  return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

Value power(int64_t base, int64_t exponent) {
  if (exponent < 0) {
    if (base == 0) fail("0.0 cannot be raised to a negative power");
    return std::pow(static_cast<double>(base), static_cast<double>(exponent));
  }
  if (base == 0 || base == 1) return exponent == 0 ? 1 : base;
  if (base == -1) return exponent % 2 == 0 ? 1 : -1;
  int64_t result = 1;
  for (; exponent > 0; --exponent) result = multiply(result, base);  // overflows after 63 rounds
  return result;
}

Value integer_arithmetic(Operator op, int64_t a, int64_t b) {
  int64_t result = 0;
  switch (op) {
    case Operator::add: {
      const bool overflowed = __builtin_add_overflow(a, b, &result);
      return checked(overflowed, result);
    }
    case Operator::subtract: {
      const bool overflowed = __builtin_sub_overflow(a, b, &result);
      return checked(overflowed, result);
    }
    case Operator::multiply:
      return multiply(a, b);
    case Operator::divide:
      if (b == 0) fail("division by zero");
      return static_cast<double>(static_cast<long double>(a) / static_cast<long double>(b));
    case Operator::floor_divide:
      return floor_divide(a, b);
    case Operator::modulo:
      return modulo(a, b);
    case Operator::power:
      return power(a, b);
  }
  return {};
}

double float_modulo(double a, double b) {
  if (b == 0) fail("float modulo");
  const double rest = std::fmod(a, b);
  if (rest == 0) return std::copysign(0.0, b);
  return (rest < 0) != (b < 0) ? rest + b : rest;
}

double float_floor_divide(double a, double b) {
  if (b == 0) fail("float floor division by zero");
  const double rest = std::fmod(a, b);
  const double quotient = (a - rest) / b - (rest != 0 && (rest < 0) != (b < 0) ? 1.0 : 0.0);
  if (quotient == 0) return std::copysign(0.0, a / b);
  const double floor = std::floor(quotient);
  return quotient - floor > 0.5 ? floor + 1 : floor;
}

double float_power(double a, double b) {
  if (a == 0 && b < 0) fail("0.0 cannot be raised to a negative power");
  if (a < 0 && std::isfinite(a) && std::isfinite(b) && b != std::trunc(b)) fail("complex numbers are not supported");
  const double result = std::pow(a, b);
  if (std::isinf(result) && std::isfinite(a) && std::isfinite(b)) fail("(34, 'Numerical result out of range')");
  return result;
}

double float_arithmetic(Operator op, double a, double b) {
  switch (op) {
    case Operator::add:
      return a + b;
    case Operator::subtract:
      return a - b;
    case Operator::multiply:
      return a * b;
    case Operator::divide:
      if (b == 0) fail("float division by zero");
      return a / b;
    case Operator::floor_divide:
      return float_floor_divide(a, b);
    case Operator::modulo:
      return float_modulo(a, b);
    case Operator::power:
      return float_power(a, b);
  }
  return 0;
}

// str + str. Adding to markup escapes what is not markup.
Value add_texts(Renderer& renderer, const Value& left, const Value& right) {
  const bool markup = left.is_markup() || right.is_markup();
  TextBuilder out;
  for (const Value* side : {&left, &right}) {
    renderer.append(out, markup && !side->is_markup() ? Value(escape_html(side->text())) : *side);
  }
  return out.take(markup);
}

Value add_sequences(Renderer& renderer, const List& left, const List& right) {
  renderer.budget().spend(left.items.size() + right.items.size());
  Values items = left.items;
  items.insert(items.end(), right.items.begin(), right.items.end());
  return Value(std::move(items), left.form == List::Form::list ? List::Form::list : List::Form::tuple);
}

Value repeat(Renderer& renderer, const Value& value, int64_t times) {
  const size_t count = times > 0 ? static_cast<size_t>(times) : 0;
  if (value.is_text()) {
    const std::string& text = value.text();
    if (!text.empty() && count > renderer.max_text_bytes() / text.size()) renderer.check_text(SIZE_MAX);
    TextBuilder out;
    for (size_t i = 0; i < count && !text.empty(); ++i) renderer.append(out, value);
    return out.take(value.is_markup());
  }
  const Values& items = value.sequence().items;
  Values out;
  for (size_t i = 0; i < count && !items.empty(); ++i) {
    renderer.budget().spend(items.size());
    out.insert(out.end(), items.begin(), items.end());
  }
  return Value(std::move(out), value.is_list() ? List::Form::list : List::Form::tuple);
}

}  // namespace

Value arithmetic(Renderer& renderer, Operator op, const Value& left, const Value& right) {
  if (left.is_text() && op == Operator::modulo) {
    CallArgs inputs{.positional = right.is_tuple() ? right.sequence().items : Values{right}};
    inputs.positional.push_back(left);
    return with_origin_of(inputs, percent_format(renderer, left, right));
  }
  for (const Value* side : {&left, &right}) {
    if (side->is_undefined()) throw Failure{side->as_undefined().message};
  }
  if (left.is_integral() && right.is_integral()) return integer_arithmetic(op, left.integer(), right.integer());
  if (left.is_number() && right.is_number()) return float_arithmetic(op, left.floating(), right.floating());
  if (op == Operator::add) {
    if (left.is_text() && right.is_text()) return add_texts(renderer, left, right);
    if (left.is_sequence() && right.is_sequence() && left.is_list() == right.is_list()) {
      return add_sequences(renderer, left.sequence(), right.sequence());
    }
    if (left.is_text()) fail("can only concatenate str (not \"{}\") to str", right.type_name());
    if (left.is_sequence()) {
      const std::string type = left.type_name();
      fail("can only concatenate {} (not \"{}\") to {}", type, right.type_name(), type);
    }
  }
  if (op == Operator::multiply) {
    const bool left_repeats = left.is_text() || left.is_sequence();
    const bool right_repeats = right.is_text() || right.is_sequence();
    if (left_repeats && right.is_integral()) return repeat(renderer, left, right.integer());
    if (right_repeats && left.is_integral()) return repeat(renderer, right, left.integer());
    if (left_repeats || right_repeats) {
      fail("can't multiply sequence by non-int of type '{}'", (left_repeats ? right : left).type_name());
    }
  }
  fail("unsupported operand type(s) for {}: '{}' and '{}'", symbol(op), left.type_name(), right.type_name());
}

Value with_sign(const Value& value, bool negative) {
  if (value.is_undefined()) throw Failure{value.as_undefined().message};
  if (value.is_integral())
    return negative ? integer_arithmetic(Operator::subtract, 0, value.integer()) : value.integer();
  if (value.is_float()) return negative ? -value.floating() : value.floating();
  fail("bad operand type for unary {}: '{}'", negative ? '-' : '+', value.type_name());
}

Value round_number(const Value& value, int64_t digits) {
  if (value.is_integral()) {
    if (digits >= 0) return value.integer();
    if (digits < -18) return 0;
    const int64_t unit = power(10, -digits).integer();
    const int64_t low = floor_divide(value.integer(), unit);
    const int64_t rest = modulo(value.integer(), unit);
    const bool up = rest > unit / 2 || (rest == unit / 2 && low % 2 != 0);
    return multiply(low + up, unit);
  }
  const double number = value.floating();
  if (!std::isfinite(number) || digits > 323) return number;
  if (digits < -308) return std::copysign(0.0, number);
  const int scale = static_cast<int>(digits);
  const std::string text = scale >= 0
                               ? fmt::format("{:.{}f}", number, scale)  // the exact value, half to even
                               : fmt::format("{:.0f}e{}", std::nearbyint(number / std::pow(10.0, -scale)), -scale);
  double rounded = 0;
  std::from_chars(text.data(), text.data() + text.size(), rounded);
  return rounded;
}

int64_t truncate_float(double value) {
  if (std::isnan(value)) fail("cannot convert float NaN to integer");
  if (std::isinf(value)) throw Failure{"cannot convert float infinity to integer"};
  if (value < -0x1p63 || value >= 0x1p63) fail("{}", kOverflow);
  return static_cast<int64_t>(value);
}

}  // namespace arc::jinja
