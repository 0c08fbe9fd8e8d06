#include "text/jinja.h"

#include <algorithm>

#include "nlohmann/json.hpp"

#include "base/utf8.h"
#include "text/jinja_parser.h"
#include "text/jinja_renderer.h"
#include "text/jinja_text.h"

namespace arc::jinja {
namespace {

std::string place_in(std::string_view name, std::string_view source, size_t offset) {
  const std::string_view before = source.substr(0, std::min(offset, source.size()));
  const auto line = std::ranges::count(before, '\n') + 1;
  const size_t line_start = before.rfind('\n') + 1;
  return fmt::format("{}, line {} column {}", name, line, count_code_points(before.substr(line_start)) + 1);
}

}  // namespace

std::tm local_time() {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  return local;
}

Template::Template(std::string_view source, std::string name, const Limits& limits)
    : name_(std::move(name)), limits_(limits) {
  if (source.size() > limits.max_template_bytes) {
    throw Error(ErrorCode::resource, fmt::format("{} is {} bytes long; templates may have {}", name_, source.size(),
                                                 limits.max_template_bytes));
  }
  if (!is_valid_utf8(source)) throw Error(ErrorCode::corrupt_data, name_ + " is not valid UTF-8");
  try {
    program_ = std::make_unique<const Program>(parse(source));
  } catch (const SyntaxError& e) {
    throw Error(e.code, place_in(name_, normalize_newlines(source), e.offset) + ": " + e.message);
  }
}

Template::~Template() = default;
Template::Template(Template&&) noexcept = default;
Template& Template::operator=(Template&&) noexcept = default;

Rendering Template::render(const Json& variables, const Trusted& trusted, const Clock& clock) const {
  size_t offset = 0;
  try {
    Dict values = value_of(variables, trusted.words).dict();
    Budget unlimited;
    for (const auto& [name, text] : trusted.variables) {
      if (values.find(name) == nullptr) values.set(unlimited, name, Value::written(text));
    }
    Renderer renderer(values, Budget(limits_.max_steps, limits_.max_depth), limits_.max_output_bytes, clock);
    try {
      return renderer.run(*program_);
    } catch (const Failure&) {
      offset = renderer.where() ? renderer.where()->offset : 0;
      throw;
    }
  } catch (const Failure& e) {
    throw Error(e.code, place_in(name_, program_->source, offset) + ": " + e.message);
  }
}

}  // namespace arc::jinja
