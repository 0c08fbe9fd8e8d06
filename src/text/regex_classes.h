// The named classes of regular expressions: \w, [:alpha:], \p{L}.
#pragma once

#include <optional>
#include <string_view>

#include "text/code_set.h"
#include "text/regex_translate.h"

namespace arc {

// Where a class stands. Oniguruma's \w has Latin-1's other numbers, but inside of brackets it has not.
struct RegexContext {
  RegexDialect dialect = RegexDialect::oniguruma;
  bool in_brackets = false;
};

// All give nothing for a name that is not known.
std::optional<CodeSet> regex_class(char letter, RegexContext context);  // s, d, w, h
std::optional<CodeSet> regex_posix_class(std::string_view name, RegexContext context);
std::optional<CodeSet> regex_property(std::string_view name, RegexContext context);  // of \p{...}

}  // namespace arc
