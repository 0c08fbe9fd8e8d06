// The parser's state and its two halves: expressions (jinja_parse_expr.cc) and statements (jinja_parser.cc).
#pragma once

#include <algorithm>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja_ast.h"
#include "text/jinja_lexer.h"

namespace arc::jinja {

class Parser {
 public:
  explicit Parser(std::string_view source);
  Program run();

 private:
  // One level of nesting for as long as it lives.
  class Nest {
   public:
    explicit Nest(Parser& parser);
    ~Nest() { --parser_.depth_; }
    Nest(const Nest&) = delete;
    Nest& operator=(const Nest&) = delete;

   private:
    Parser& parser_;
  };

  // The use of a filter or test that does not exist: an error now unless a condition guards it, else when it runs.
  using Unknown = SyntaxError;

  // Tokens.
  const Token& current() const { return tokens_[at_]; }
  const Token& ahead() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  const Token& next() { return tokens_[at_ + 1 < tokens_.size() ? at_++ : at_]; }
  bool is(TokenKind kind) const { return current().kind == kind; }
  bool is_op(std::string_view op) const { return is(TokenKind::op) && current().text == op; }
  bool is_name(std::string_view name) const { return is(TokenKind::name) && current().text == name; }
  bool skip_op(std::string_view op);
  bool skip_name(std::string_view name);
  void expect_op(std::string_view op);
  void expect(TokenKind kind, std::string_view what);
  std::string expect_name();
  std::string expect_dotted_name();
  [[noreturn]] void fail_here(const std::string& message) const;
  [[noreturn]] void fail_expected(std::string_view what) const;

  template <typename T>
  T* make(size_t offset) {
    auto node = std::make_unique<T>();
    node->offset = offset;
    T* raw = node.get();
    program_.nodes.push_back(std::move(node));
    return raw;
  }

  // Expressions.
  const Expr* parse_expression() { return parse_conditional(); }
  const Expr* parse_conditional();
  const Expr* parse_or();
  const Expr* parse_and();
  const Expr* parse_not();
  const Expr* parse_compare();
  bool parse_comparison(Comparison& op);
  const Expr* parse_sum();
  const Expr* parse_concat();
  const Expr* parse_product();
  const Expr* parse_power();
  const Expr* parse_unary(bool with_filters = true);
  const Expr* parse_primary();
  const Expr* parse_name();
  const Expr* parse_string();
  const Expr* parse_list();
  const Expr* parse_dict();
  const Expr* parse_postfix(const Expr* expr);
  const Expr* parse_filters_and_tests(const Expr* expr);
  const Expr* parse_subscript(const Expr* object);
  const Expr* parse_slice(const Expr* object, const Expr* start, size_t offset);
  const Expr* parse_call(const Expr* callee);
  FilterExpr* parse_filter(const Expr* subject);
  const Expr* parse_test(const Expr* subject);
  Arguments parse_arguments();
  void parse_argument(Arguments& arguments);
  // Comma-separated: one expression, or a tuple.
  const Expr* parse_tuple(bool conditional = true, bool in_parentheses = false);
  bool at_tuple_end() const;
  const Expr* binary(Operator op, const Expr* left, const Expr* right, size_t offset);

  // Statements.
  Body parse_body(std::initializer_list<std::string_view> ends);
  Body parse_block(std::initializer_list<std::string_view> ends);
  void parse_print_tag(Body& body);
  const Stmt* parse_statement();
  const Stmt* parse_if();
  const Stmt* parse_for();
  const Stmt* parse_set();
  const Stmt* parse_with();
  const Stmt* parse_generation();
  const Stmt* parse_macro();
  const Stmt* parse_call_block();
  const Stmt* parse_filter_block();
  const Stmt* parse_print();
  const Stmt* parse_loop_control();
  void parse_signature(MacroCode& code);
  void parse_macro_body(MacroCode& code, std::string_view end);
  std::vector<const FilterExpr*> parse_filter_chain();

  // Targets are declared in the scope that owns them only when their statement says so.
  enum class Declare { store, parameter };
  Target* parse_target(bool with_namespaces);
  Target* parse_single_target(bool with_namespaces);
  void declare(Target* target, Declare how);

  // Scopes.
  Scope* open_scope(Scope::Kind kind);
  void close_scope();
  void load_name(const std::string& name, Slot* slot);
  void drop_soft_unknowns(size_t mark) { soft_unknowns_.resize(mark); }

  // What opening a scope changes and closing it restores.
  struct Place {
    Scope* scope = nullptr;
    int conditions = 0;  // open conditions inside the scope
    int loops = 0;       // open loops that `break` can leave
    size_t n_soft = 0;   // soft_unknowns_ when the scope opened
  };

  Program program_;
  std::vector<Token> tokens_;
  size_t at_ = 0;
  int depth_ = 0;
  int open_loops_ = 0;  // `loop` cannot be assigned inside one
  Place place_;
  std::vector<Place> outer_places_;
  std::vector<Unknown> soft_unknowns_;  // not known yet to be outside a condition
  std::vector<Unknown> unknowns_;
};

}  // namespace arc::jinja
