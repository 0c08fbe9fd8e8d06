// Template text to tokens, with white space control as chat templates expect it (trim_blocks and lstrip_blocks on, a
// final newline dropped).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja_value.h"

namespace arc::jinja {

enum class TokenKind : uint8_t {
  data,            // literal text
  variable_begin,  // {{
  variable_end,    // }}
  block_begin,     // {%
  block_end,       // %}
  name,
  string,    // text is unescaped
  integer,   // number holds it
  floating,  // number holds it
  op,        // text is the operator
  end,
};

struct Token {
  TokenKind kind = TokenKind::end;
  std::string text;
  Value number;
  size_t offset = 0;  // in the source
};

// A template that cannot be read; `offset` is in the source.
struct SyntaxError {
  std::string message;
  size_t offset = 0;
  ErrorCode code = ErrorCode::corrupt_data;
};

// Line ends become "\n" and one newline at the end goes, as the lexer needs it.
std::string normalize_newlines(std::string_view source);

// `source` is normalised. Throws SyntaxError.
std::vector<Token> tokenize(std::string_view source);

}  // namespace arc::jinja
