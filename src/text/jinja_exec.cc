// Execution of statements.
#include "text/jinja_ast.h"
#include "text/jinja_objects.h"
#include "text/jinja_print.h"
#include "text/jinja_renderer.h"

namespace arc::jinja {
namespace {

// Runs `body` in `scope` and gives what it writes, through the filters. Nothing when `flow` leaves the loop around.
std::optional<Value> captured(const Body& body, const Scope& scope, const std::vector<const FilterExpr*>& filters,
                              Renderer& renderer, const FramePtr& outer, Flow& flow) {
  const FramePtr frame = renderer.enter(scope, outer);
  Value value;
  {
    Renderer::Capture capture(renderer);
    flow = run_body(body, renderer, frame);
    value = capture.take();
  }
  if (flow != Flow::normal) return std::nullopt;
  for (const FilterExpr* filter : filters) value = filter->apply(renderer, *frame, std::move(value));
  return value;
}

// A loop that a namespace or macro still holds when it ends may hold that in turn.
class LoopKeeper {
 public:
  LoopKeeper(Renderer& renderer, const std::shared_ptr<Loop>& loop) : renderer_(renderer), loop_(loop) {}
  ~LoopKeeper() {
    if (loop_.use_count() > 1) renderer_.keep(loop_);
  }
  LoopKeeper(const LoopKeeper&) = delete;
  LoopKeeper& operator=(const LoopKeeper&) = delete;

 private:
  Renderer& renderer_;
  const std::shared_ptr<Loop>& loop_;
};

}  // namespace

Flow Stmt::exec(Renderer& renderer, const FramePtr& frame) const {
  const Budget::Level level(renderer.budget());
  renderer.budget().spend(1);
  renderer.visit(*this);
  return execute(renderer, frame);
}

Flow run_body(const Body& body, Renderer& renderer, const FramePtr& frame) {
  for (const Stmt* statement : body) {
    if (const Flow flow = statement->exec(renderer, frame); flow != Flow::normal) return flow;
  }
  return Flow::normal;
}

void Target::check_namespaces(Frame& frame) const {
  for (const Target* part : parts) part->check_namespaces(frame);
  if (!attribute.empty() && frame.at(slot).object_as<Namespace>() == nullptr) {
    fail("cannot assign attribute on non-namespace object");
  }
}

void Target::assign(Renderer& renderer, Frame& frame, const Value& value) const {
  if (!is_tuple) {
    Value& variable = frame.at(slot);
    if (attribute.empty()) {
      variable = value;
    } else {
      variable.object_as<Namespace>()->set(renderer.budget(), attribute, value);
    }
    return;
  }
  if (!is_iterable(value)) fail("cannot unpack non-iterable {} object", value.type_name());
  const auto items = items_of(renderer.budget(), value);
  const size_t n = items.size();
  if (n > parts.size()) fail("too many values to unpack (expected {})", parts.size());
  if (n < parts.size()) fail("not enough values to unpack (expected {}, got {})", parts.size(), n);
  for (size_t i = 0; i < n; ++i) parts[i]->assign(renderer, frame, items[i]);
}

Flow DataStmt::execute(Renderer& renderer, const FramePtr&) const {
  renderer.write_written(text);
  return Flow::normal;
}

Flow PrintStmt::execute(Renderer& renderer, const FramePtr& frame) const {
  for (const Expr* expr : values) {
    const Value value = expr->eval(renderer, *frame);
    renderer.write(value.is_text() ? value : renderer.text_of(value));
  }
  return Flow::normal;
}

Flow IfStmt::execute(Renderer& renderer, const FramePtr& frame) const {
  for (const auto& [test, body] : branches) {
    if (test->eval(renderer, *frame).truth()) return run_body(body, renderer, frame);
  }
  return run_body(otherwise, renderer, frame);
}

Flow ForStmt::run(Renderer& renderer, const FramePtr& outer, const Value& iterable, int depth) const {
  Loop::Accept accept;
  if (test) {
    accept = [this, &renderer, frame = renderer.enter(*test_scope, outer)](const Value& item) {
      target->assign(renderer, *frame, item);
      return test->eval(renderer, *frame).truth();
    };
  }
  Loop::Recurse recurse;
  if (recursive) {
    recurse = [this, &renderer, outer](const Value& items, int level) -> Value {
      Renderer::Capture capture(renderer);
      run(renderer, outer, items, level);
      return capture.take();
    };
  }
  const bool has_length = !iterable.object() || (*iterable.object())->length().has_value();
  const auto loop = std::make_shared<Loop>(items_of(renderer.budget(), iterable), has_length, depth, std::move(accept),
                                           std::move(recurse));
  const LoopKeeper keeper(renderer, loop);
  bool completed = false;  // an iteration ran to its end
  while (const std::optional<Value> item = loop->advance()) {
    const FramePtr frame = renderer.enter(*scope, outer);
    target->assign(renderer, *frame, *item);
    if (loop_slot.index >= 0) frame->at(loop_slot) = loop;
    const Flow flow = run_body(body, renderer, frame);
    if (flow == Flow::break_loop) break;
    completed = completed || flow == Flow::normal;
  }
  if (completed || else_scope == nullptr) return Flow::normal;
  return run_body(otherwise, renderer, renderer.enter(*else_scope, outer));
}

Flow ForStmt::execute(Renderer& renderer, const FramePtr& frame) const {
  return run(renderer, frame, items->eval(renderer, *frame), 0);
}

Flow LoopControlStmt::execute(Renderer&, const FramePtr&) const {
  return flow;
}

Flow SetStmt::execute(Renderer& renderer, const FramePtr& frame) const {
  target->check_namespaces(*frame);
  target->assign(renderer, *frame, value->eval(renderer, *frame));
  return Flow::normal;
}

Flow SetBlockStmt::execute(Renderer& renderer, const FramePtr& frame) const {
  Flow flow = Flow::normal;
  const auto value = captured(body, *scope, filters, renderer, frame, flow);
  if (!value) return flow;
  target->check_namespaces(*frame);
  target->assign(renderer, *frame, *value);
  return flow;
}

Flow FilterBlockStmt::execute(Renderer& renderer, const FramePtr& frame) const {
  Flow flow = Flow::normal;
  if (const auto value = captured(body, *scope, filters, renderer, frame, flow))
    renderer.write(renderer.text_of(*value));
  return flow;
}

Flow WithStmt::execute(Renderer& renderer, const FramePtr& outer) const {
  const FramePtr frame = renderer.enter(*scope, outer);
  for (const auto& [target, expr] : variables) target->assign(renderer, *frame, expr->eval(renderer, *outer));
  return run_body(body, renderer, frame);
}

Flow MacroStmt::execute(Renderer& renderer, const FramePtr& frame) const {
  renderer.keep(frame);
  frame->at(slot) = std::make_shared<Macro>(*code, frame);
  return Flow::normal;
}

Flow CallBlockStmt::execute(Renderer& renderer, const FramePtr& frame) const {
  renderer.keep(frame);
  renderer.write(renderer.text_of(call->call(renderer, *frame, std::make_shared<Macro>(*code, frame))));
  return Flow::normal;
}

}  // namespace arc::jinja
