// One rendering: the state that evaluating the syntax tree works on.
#pragma once

#include <ctime>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja.h"
#include "text/jinja_ast.h"
#include "text/jinja_origin.h"
#include "text/jinja_value.h"

namespace arc::jinja {

class Renderer {
 public:
  Renderer(const Dict& variables, Budget budget, size_t max_output_bytes, const Clock& clock);
  ~Renderer();
  Renderer(const Renderer&) = delete;
  Renderer& operator=(const Renderer&) = delete;

  Rendering run(const Program& program);

  Budget& budget() { return budget_; }
  std::tm now() const { return clock_(); }
  size_t max_text_bytes() const { return max_output_bytes_; }
  // Fails when a text would be longer than the output may be.
  void check_text(size_t n_bytes) const;
  // Adds a text to another, at its cost and within that limit.
  void append(TextBuilder& out, const Value& text);

  // Where evaluation is.
  void visit(const Node& node) { where_ = &node; }
  const Node* where() const { return where_; }

  void write(const Value& text) { append(output_, text); }
  void write_written(std::string_view text);  // by the template

  // Takes what is written for as long as it lives.
  class Capture {
   public:
    explicit Capture(Renderer& renderer) : renderer_(renderer) { std::swap(renderer_.output_, saved_); }
    ~Capture() { std::swap(renderer_.output_, saved_); }
    Capture(const Capture&) = delete;
    Capture& operator=(const Capture&) = delete;
    Value take() { return renderer_.output_.take(); }

   private:
    Renderer& renderer_;
    TextBuilder saved_;
  };

  FramePtr enter(const Scope& scope, const FramePtr& parent);

  // Frames, namespaces and loops can hold themselves: the renderer empties those it was given when it ends.
  void keep(const FramePtr& frame);
  void keep(std::shared_ptr<Object> object) { kept_objects_.push_back(std::move(object)); }

  std::string str(const Value& value);
  Value text_of(const Value& value) { return jinja::text_of(budget_, value); }
  Value attribute(const Value& object, const std::string& name);  // object.name
  Value item(const Value& object, const Value& key);              // object[key]
  Value slice(const Value& object, const std::optional<int64_t> (&bounds)[3]);
  Value call(const Value& callee, const CallArgs& args);

 private:
  const Dict& variables_;
  Budget budget_;
  size_t max_output_bytes_;
  const Clock& clock_;
  const Node* where_ = nullptr;
  TextBuilder output_;
  std::vector<FramePtr> kept_frames_;
  std::vector<std::shared_ptr<Object>> kept_objects_;
};

Flow run_body(const Body& body, Renderer& renderer, const FramePtr& frame);

}  // namespace arc::jinja
