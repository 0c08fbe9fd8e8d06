// The syntax tree of a template. Nodes are owned by the Program and point to each other; evaluating them is in
// jinja_eval.cc (expressions) and jinja_exec.cc (statements).
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja_scope.h"
#include "text/jinja_value.h"

namespace arc::jinja {

class Renderer;

using FilterFunction = Value (*)(Renderer&, const CallArgs&);  // the filtered value is the first argument
using TestFunction = bool (*)(Renderer&, const CallArgs&);

struct Node {
  virtual ~Node() = default;
  size_t offset = 0;  // in the source, for messages
};

// `eval` counts the step and remembers the place; `evaluate` is the node's own part.
struct Expr : Node {
  Value eval(Renderer& renderer, Frame& frame) const;
  virtual Value evaluate(Renderer& renderer, Frame& frame) const = 0;
};

enum class Flow { normal, break_loop, continue_loop };

struct Stmt : Node {
  Flow exec(Renderer& renderer, const FramePtr& frame) const;
  virtual Flow execute(Renderer& renderer, const FramePtr& frame) const = 0;
};

using Body = std::vector<const Stmt*>;

struct Arguments {
  std::vector<const Expr*> positional;
  std::vector<std::pair<std::string, const Expr*>> named;
  const Expr* star = nullptr;         // *x
  const Expr* double_star = nullptr;  // **x

  void eval_into(CallArgs& args, Renderer& renderer, Frame& frame) const;
};

struct ConstExpr final : Expr {
  Value value;
  Value evaluate(Renderer& renderer, Frame& frame) const override;
};

struct NameExpr final : Expr {
  Slot slot;
  Value evaluate(Renderer& renderer, Frame& frame) const override;
};

struct SequenceExpr final : Expr {
  std::vector<const Expr*> items;
  List::Form form = List::Form::list;
  Value evaluate(Renderer& renderer, Frame& frame) const override;
};

struct DictExpr final : Expr {
  std::vector<std::pair<const Expr*, const Expr*>> entries;
  Value evaluate(Renderer& renderer, Frame& frame) const override;
};

enum class Operator { add, subtract, multiply, divide, floor_divide, modulo, power };

struct BinaryExpr final : Expr {
  Operator op = Operator::add;
  const Expr* left = nullptr;
  const Expr* right = nullptr;
  Value evaluate(Renderer& renderer, Frame& frame) const override;
};

struct SignExpr final : Expr {
  bool negative = false;
  const Expr* operand = nullptr;
  Value evaluate(Renderer& renderer, Frame& frame) const override;
};

struct NotExpr final : Expr {
  const Expr* operand = nullptr;
  Value evaluate(Renderer& renderer, Frame& frame) const override;
};

// `and` and `or`: the value that decides.
struct LogicExpr final : Expr {
  bool is_or = false;
  const Expr* left = nullptr;
  const Expr* right = nullptr;
  Value evaluate(Renderer& renderer, Frame& frame) const override;
};

struct ConcatExpr final : Expr {
  std::vector<const Expr*> parts;
  Value evaluate(Renderer& renderer, Frame& frame) const override;
};

enum class Comparison { eq, ne, lt, le, gt, ge, in, not_in };

// a < b <= c ...
struct CompareExpr final : Expr {
  const Expr* first = nullptr;
  std::vector<std::pair<Comparison, const Expr*>> rest;
  Value evaluate(Renderer& renderer, Frame& frame) const override;
};

struct ConditionalExpr final : Expr {
  const Expr* test = nullptr;
  const Expr* yes = nullptr;
  const Expr* no = nullptr;  // null: undefined
  Value evaluate(Renderer& renderer, Frame& frame) const override;
};

struct AttributeExpr final : Expr {
  const Expr* object = nullptr;
  std::string name;
  Value evaluate(Renderer& renderer, Frame& frame) const override;
};

struct ItemExpr final : Expr {
  const Expr* object = nullptr;
  const Expr* key = nullptr;
  Value evaluate(Renderer& renderer, Frame& frame) const override;
};

struct SliceExpr final : Expr {
  const Expr* object = nullptr;
  const Expr* bounds[3] = {};  // start, stop, step; null when absent
  Value evaluate(Renderer& renderer, Frame& frame) const override;
};

struct CallExpr final : Expr {
  const Expr* callee = nullptr;
  Arguments arguments;

  Value call(Renderer& renderer, Frame& frame, std::optional<Value> caller) const;
  Value evaluate(Renderer& renderer, Frame& frame) const override;
};

struct FilterExpr final : Expr {
  std::string name;
  FilterFunction function = nullptr;  // null: unknown, an error when it runs
  const Expr* subject = nullptr;      // null: the text of a block
  Arguments arguments;

  Value apply(Renderer& renderer, Frame& frame, Value subject_value) const;
  Value evaluate(Renderer& renderer, Frame& frame) const override;
};

struct TestExpr final : Expr {
  std::string name;
  TestFunction function = nullptr;
  const Expr* subject = nullptr;
  Arguments arguments;
  Value evaluate(Renderer& renderer, Frame& frame) const override;
};

// What an assignment writes to: a variable, an attribute of a namespace, or several of them.
struct Target final : Node {
  std::string name;
  Slot slot;
  std::string attribute;  // of the namespace in `slot`; empty: the variable itself
  std::vector<const Target*> parts;
  bool is_tuple = false;

  void check_namespaces(Frame& frame) const;
  void assign(Renderer& renderer, Frame& frame, const Value& value) const;
};

struct DataStmt final : Stmt {
  std::string text;
  Flow execute(Renderer& renderer, const FramePtr& frame) const override;
};

struct PrintStmt final : Stmt {
  std::vector<const Expr*> values;
  Flow execute(Renderer& renderer, const FramePtr& frame) const override;
};

struct IfStmt final : Stmt {
  std::vector<std::pair<const Expr*, Body>> branches;
  Body otherwise;
  Flow execute(Renderer& renderer, const FramePtr& frame) const override;
};

struct ForStmt final : Stmt {
  const Target* target = nullptr;  // the same slots in `scope` and `test_scope`
  const Expr* items = nullptr;
  const Expr* test = nullptr;
  bool recursive = false;
  Slot loop_slot;  // in `scope`, when the body reads `loop`
  const Scope* scope = nullptr;
  const Scope* test_scope = nullptr;
  const Scope* else_scope = nullptr;
  Body body;
  Body otherwise;

  Flow run(Renderer& renderer, const FramePtr& outer, const Value& iterable, int depth) const;
  Flow execute(Renderer& renderer, const FramePtr& frame) const override;
};

struct LoopControlStmt final : Stmt {
  Flow flow = Flow::break_loop;
  Flow execute(Renderer& renderer, const FramePtr& frame) const override;
};

struct SetStmt final : Stmt {
  const Target* target = nullptr;
  const Expr* value = nullptr;
  Flow execute(Renderer& renderer, const FramePtr& frame) const override;
};

// {% set x %} ... {% endset %}, through filters
struct SetBlockStmt final : Stmt {
  const Target* target = nullptr;
  std::vector<const FilterExpr*> filters;  // innermost first
  const Scope* scope = nullptr;
  Body body;
  Flow execute(Renderer& renderer, const FramePtr& frame) const override;
};

struct FilterBlockStmt final : Stmt {
  std::vector<const FilterExpr*> filters;
  const Scope* scope = nullptr;
  Body body;
  Flow execute(Renderer& renderer, const FramePtr& frame) const override;
};

// `with`, and `generation`, which is one without variables.
struct WithStmt final : Stmt {
  std::vector<std::pair<const Target*, const Expr*>> variables;
  const Scope* scope = nullptr;
  Body body;
  Flow execute(Renderer& renderer, const FramePtr& frame) const override;
};

// A macro's parameters and body; the caller of a call block is one without a name.
struct MacroCode final : Node {
  struct Parameter {
    std::string name;
    Slot slot;
    const Expr* fallback = nullptr;
  };
  std::string name;
  std::vector<Parameter> parameters;
  Slot caller_slot, kwargs_slot, varargs_slot;  // index -1: the body does not ask for it
  const Scope* scope = nullptr;
  Body body;
};

struct MacroStmt final : Stmt {
  const MacroCode* code = nullptr;
  Slot slot;
  Flow execute(Renderer& renderer, const FramePtr& frame) const override;
};

struct CallBlockStmt final : Stmt {
  const MacroCode* code = nullptr;
  const CallExpr* call = nullptr;
  Flow execute(Renderer& renderer, const FramePtr& frame) const override;
};

// A parsed template. `source` has its line ends normalised.
struct Program {
  std::string source;
  std::vector<std::unique_ptr<Node>> nodes;
  std::vector<std::unique_ptr<Scope>> scopes;  // parents first; the root is the first
  Body body;
};

}  // namespace arc::jinja
