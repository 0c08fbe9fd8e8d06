// Python's arithmetic operators. Integers are 64 bits wide; a result outside is an error.
#pragma once

#include "text/jinja_ast.h"
#include "text/jinja_renderer.h"
#include "text/jinja_value.h"

namespace arc::jinja {

Value arithmetic(Renderer& renderer, Operator op, const Value& left, const Value& right);
Value with_sign(const Value& value, bool negative);
Value round_number(const Value& value, int64_t digits);  // round(): half to even

// The integer that a float holds after truncation; fails when it has none.
int64_t truncate_float(double value);

}  // namespace arc::jinja
