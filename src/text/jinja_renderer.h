// One rendering: the state that evaluating the syntax tree works on.
#pragma once

#include <ctime>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja_ast.h"
#include "text/jinja_value.h"

namespace arc::jinja {

class Renderer {
 public:
  Renderer(const Dict& variables, Budget budget, size_t max_output_bytes, const std::function<std::tm()>& clock);
  ~Renderer();
  Renderer(const Renderer&) = delete;
  Renderer& operator=(const Renderer&) = delete;

  std::string run(const Program& program);

  Budget& budget() { return budget_; }
  std::tm now() const { return clock_(); }
  size_t max_text_bytes() const { return max_output_bytes_; }
  // Fails when a text would be longer than the output may be.
  void check_text(size_t n_bytes) const;

  // Where evaluation is.
  void visit(const Node& node) { where_ = &node; }
  const Node* where() const { return where_; }

  void write(std::string_view text);

  // Takes what is written for as long as it lives.
  class Capture {
   public:
    explicit Capture(Renderer& renderer) : renderer_(renderer) { std::swap(renderer_.output_, saved_); }
    ~Capture() { std::swap(renderer_.output_, saved_); }
    Capture(const Capture&) = delete;
    Capture& operator=(const Capture&) = delete;
    std::string take() { return std::move(renderer_.output_); }

   private:
    Renderer& renderer_;
    std::string saved_;
  };

  FramePtr enter(const Scope& scope, const FramePtr& parent);

  // Frames, namespaces and loops can hold themselves: the renderer empties those it was given when it ends.
  void keep(const FramePtr& frame);
  void keep(std::shared_ptr<Object> object) { kept_objects_.push_back(std::move(object)); }

  std::string str(const Value& value);
  Value attribute(const Value& object, const std::string& name);  // object.name
  Value item(const Value& object, const Value& key);              // object[key]
  Value slice(const Value& object, const std::optional<int64_t> (&bounds)[3]);
  Value call(const Value& callee, const CallArgs& args);

 private:
  const Dict& variables_;
  Budget budget_;
  size_t max_output_bytes_;
  const std::function<std::tm()>& clock_;
  const Node* where_ = nullptr;
  std::string output_;
  std::vector<FramePtr> kept_frames_;
  std::vector<std::shared_ptr<Object>> kept_objects_;
};

Flow run_body(const Body& body, Renderer& renderer, const FramePtr& frame);

}  // namespace arc::jinja
