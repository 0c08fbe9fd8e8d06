// docs/models.md: which architectures Arc knows, what proves each, and how exactly.
#pragma once

#include <string>

namespace arc::test {

// The document. `measure` runs every golden on one and two ranks; otherwise all measured figures are zero.
std::string models_document(bool measure);

// The document without its measured figures (all numbers with a decimal point), which differ between compilers.
std::string without_figures(const std::string& document);

}  // namespace arc::test
