// Python's two ways of formatting: "%s" % x and "{}".format(x).
#pragma once

#include <string>

#include "text/jinja_renderer.h"
#include "text/jinja_value.h"

namespace arc::jinja {

// format % args, where `format` is a text.
Value percent_format(Renderer& renderer, const Value& format, const Value& args);

// format.format(*args, **named), with attributes and items looked up as a template does.
Value brace_format(Renderer& renderer, const Value& format, const CallArgs& args);

}  // namespace arc::jinja
