// Tokens to syntax tree, by recursive descent with Jinja's grammar.
#pragma once

#include <string_view>

#include "text/jinja_ast.h"
#include "text/jinja_lexer.h"

namespace arc::jinja {

// Throws SyntaxError; constructs that exist in Jinja but not here have the code `unsupported`.
Program parse(std::string_view source);

}  // namespace arc::jinja
