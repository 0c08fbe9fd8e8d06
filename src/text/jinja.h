// The template language of chat templates: Jinja2 as Python runs it in its immutable sandbox, with transformers'
// settings (trim_blocks, lstrip_blocks, loop controls, `generation` blocks, `tojson`, `raise_exception`,
// `strftime_now`). Templates come with models and are not trusted: steps, recursion and output are limited.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ctime>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/json.h"
#include "text/byte_range.h"

namespace arc::jinja {

struct Program;

struct Limits {
  size_t max_template_bytes = size_t{1} << 20;
  // A step is a node evaluated, an item visited, or 64 bytes of text read or written.
  int64_t max_steps = 16'000'000;
  int max_depth = 1000;  // of evaluation; takes about 1 MiB of stack
  size_t max_output_bytes = size_t{64} << 20;
};

// What a template's `raise_exception(message)` throws: `what()` is the message, the request is at fault.
class RaisedError : public Error {
 public:
  explicit RaisedError(const std::string& message) : Error(ErrorCode::invalid_argument, message) {}
};

// The local time that `strftime_now` shows.
using Clock = std::function<std::tm()>;
std::tm local_time();

// What counts as written by the template although it comes from outside.
struct Trusted {
  std::map<std::string, std::string> variables;  // those of the request replace them
  std::span<const std::string_view> words;       // texts of the request that are one of these
};

struct Rendering {
  std::string text;
  // Bytes that came with the request, or may have: a template that does more to a text than to cut and to join loses
  // track of it. Those must not become special tokens.
  ByteRanges from_request;
};

// A parsed template. Rendering changes nothing in it: threads may share one.
class Template {
 public:
  // `name` stands in messages. Syntax errors throw Error(corrupt_data), constructs that exist in Jinja but not here
  // Error(unsupported), both with line and column.
  Template(std::string_view source, std::string name, const Limits& limits = {});
  ~Template();
  Template(Template&&) noexcept;
  Template& operator=(Template&&) noexcept;

  // `variables` is an object. Throws RaisedError; Error(invalid_argument), with line and column, where Python would
  // raise; Error(resource) when a limit is hit.
  Rendering render(const Json& variables, const Trusted& trusted = {}, const Clock& clock = local_time) const;

 private:
  std::string name_;
  Limits limits_;
  std::unique_ptr<const Program> program_;
};

}  // namespace arc::jinja
