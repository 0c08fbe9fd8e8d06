#include "text/jinja_parser.h"

#include <array>

#include "text/jinja_parser_impl.h"

namespace arc::jinja {
namespace {

constexpr int kMaxNesting = 200;  // brackets, operators and blocks inside each other

constexpr std::array<std::string_view, 7> kUnsupportedTags = {"block", "extends", "include",   "import",
                                                              "from",  "do",      "autoescape"};

}  // namespace

Parser::Nest::Nest(Parser& parser) : parser_(parser) {
  if (parser_.depth_ >= kMaxNesting) parser_.fail_here("the template nests too deeply");
  ++parser_.depth_;
}

Parser::Parser(std::string_view source) {
  program_.source = normalize_newlines(source);
  tokens_ = tokenize(program_.source);
}

Program Parser::run() {
  open_scope(Scope::Kind::root);
  program_.body = parse_body({});
  close_scope();
  if (!unknowns_.empty()) throw unknowns_.front();
  for (const auto& scope : program_.scopes) scope->resolve();
  return std::move(program_);
}

bool Parser::skip_op(std::string_view op) {
  const bool found = is_op(op);
  if (found) next();
  return found;
}

bool Parser::skip_name(std::string_view name) {
  const bool found = is_name(name);
  if (found) next();
  return found;
}

void Parser::expect_op(std::string_view op) {
  if (!skip_op(op)) fail_expected(fmt::format("'{}'", op));
}

void Parser::expect(TokenKind kind, std::string_view what) {
  if (!is(kind)) fail_expected(what);
  next();
}

std::string Parser::expect_name() {
  if (!is(TokenKind::name)) fail_expected("a name");
  return next().text;
}

std::string Parser::expect_dotted_name() {
  std::string name = expect_name();
  while (skip_op(".")) name += "." + expect_name();
  return name;
}

void Parser::fail_here(const std::string& message) const {
  throw SyntaxError{message, current().offset};
}

void Parser::fail_expected(std::string_view what) const {
  const auto describe = [](const Token& token) -> std::string {
    switch (token.kind) {
      case TokenKind::variable_end:
        return "'}}'";
      case TokenKind::block_end:
        return "'%}'";
      case TokenKind::name:
      case TokenKind::op:
        return fmt::format("'{}'", token.text);
      case TokenKind::end:
        return "the end of the template";
      default:
        return "a literal";
    }
  };
  fail_here(fmt::format("expected {}, got {}", what, describe(current())));
}

// Statements until a tag of `ends` opens; its name is then the current token.
Body Parser::parse_body(std::initializer_list<std::string_view> ends) {
  const Nest nest(*this);
  Body body;
  while (!is(TokenKind::end)) {
    if (is(TokenKind::data)) {
      auto* data = make<DataStmt>(current().offset);
      data->text = next().text;
      body.push_back(data);
    } else if (is(TokenKind::variable_begin)) {
      parse_print_tag(body);
    } else {
      next();  // block_begin
      if (is(TokenKind::name) && std::ranges::find(ends, current().text) != ends.end()) return body;
      body.push_back(parse_statement());
      expect(TokenKind::block_end, "'%}'");
    }
  }
  if (ends.size() != 0) fail_expected(fmt::format("'{{% {} %}}'", *(ends.end() - 1)));
  return body;
}

// The rest of an opening tag, then a body. The closing tag's name is the current token.
Body Parser::parse_block(std::initializer_list<std::string_view> ends) {
  skip_op(":");
  expect(TokenKind::block_end, "'%}'");
  return parse_body(ends);
}

void Parser::parse_print_tag(Body& body) {
  auto* print = make<PrintStmt>(next().offset);
  print->values.push_back(parse_tuple());
  expect(TokenKind::variable_end, "'}}'");
  body.push_back(print);
}

const Stmt* Parser::parse_statement() {
  if (!is(TokenKind::name)) fail_expected("a tag name");
  const std::string& tag = current().text;
  using Parse = const Stmt* (Parser::*)();
  constexpr std::array<std::pair<std::string_view, Parse>, 11> kTags = {{
      {"if", &Parser::parse_if},
      {"for", &Parser::parse_for},
      {"set", &Parser::parse_set},
      {"macro", &Parser::parse_macro},
      {"call", &Parser::parse_call_block},
      {"filter", &Parser::parse_filter_block},
      {"with", &Parser::parse_with},
      {"generation", &Parser::parse_generation},
      {"print", &Parser::parse_print},
      {"break", &Parser::parse_loop_control},
      {"continue", &Parser::parse_loop_control},
  }};
  for (const auto& [name, parse] : kTags) {
    if (name == tag) return (this->*parse)();
  }
  const bool in_jinja = std::ranges::find(kUnsupportedTags, tag) != kUnsupportedTags.end();
  throw SyntaxError{fmt::format("{} tag '{}'", in_jinja ? "unsupported" : "unknown", tag), current().offset,
                    in_jinja ? ErrorCode::unsupported : ErrorCode::corrupt_data};
}

const Stmt* Parser::parse_if() {
  auto* node = make<IfStmt>(current().offset);
  const size_t mark = soft_unknowns_.size();
  ++place_.conditions;
  do {
    next();  // if, elif
    const Expr* test = parse_tuple(false);
    node->branches.emplace_back(test, parse_block({"elif", "else", "endif"}));
  } while (is_name("elif"));
  if (next().text == "else") {
    node->otherwise = parse_block({"endif"});
    next();
  }
  --place_.conditions;
  drop_soft_unknowns(mark);
  return node;
}

const Stmt* Parser::parse_for() {
  auto* node = make<ForStmt>(next().offset);
  Target* target = parse_target(false);
  if (!skip_name("in")) fail_expected("'in'");
  node->target = target;
  node->items = parse_tuple(false);
  const auto check_loop = [&](auto&& self, const Target& t) -> void {
    if (t.name == "loop") throw SyntaxError{"can't assign to special loop variable in for-loop target", t.offset};
    for (const Target* part : t.parts) self(self, *part);
  };
  check_loop(check_loop, *target);
  if (skip_name("if")) {
    node->test_scope = open_scope(Scope::Kind::block);
    declare(target, Declare::parameter);
    node->test = parse_expression();
    close_scope();
  }
  node->recursive = skip_name("recursive");
  node->scope = open_scope(Scope::Kind::loop);
  ++place_.loops;
  ++open_loops_;
  declare(target, Declare::parameter);
  if (node->recursive) place_.scope->parameter("loop");
  node->body = parse_block({"endfor", "else"});
  if (place_.scope->has_parameter("loop")) place_.scope->use("loop", &node->loop_slot);
  close_scope();
  --open_loops_;
  if (next().text == "else") {
    node->else_scope = open_scope(Scope::Kind::block);
    if (node->recursive) place_.loops = 0;
    node->otherwise = parse_block({"endfor"});
    close_scope();
    next();
  }
  return node;
}

const Stmt* Parser::parse_set() {
  const size_t offset = next().offset;
  Target* target = parse_target(true);
  if (skip_op("=")) {
    auto* node = make<SetStmt>(offset);
    node->target = target;
    node->value = parse_tuple();
    declare(target, Declare::store);
    return node;
  }
  auto* node = make<SetBlockStmt>(offset);
  node->target = target;
  declare(target, Declare::store);
  node->scope = open_scope(Scope::Kind::block);
  if (skip_op("|")) node->filters = parse_filter_chain();
  node->body = parse_block({"endset"});
  next();
  close_scope();
  return node;
}

const Stmt* Parser::parse_with() {
  auto* node = make<WithStmt>(next().offset);
  std::vector<Target*> targets;
  while (!is(TokenKind::block_end)) {
    if (!targets.empty()) expect_op(",");
    targets.push_back(parse_target(false));
    expect_op("=");
    node->variables.emplace_back(targets.back(), parse_expression());
  }
  node->scope = open_scope(Scope::Kind::block);
  for (Target* target : targets) declare(target, Declare::parameter);
  node->body = parse_block({"endwith"});
  next();
  close_scope();
  return node;
}

const Stmt* Parser::parse_generation() {
  auto* node = make<WithStmt>(next().offset);
  node->scope = open_scope(Scope::Kind::block);
  place_.loops = 0;
  node->body = parse_block({"endgeneration"});
  next();
  close_scope();
  return node;
}

const Stmt* Parser::parse_macro() {
  auto* node = make<MacroStmt>(next().offset);
  auto* code = make<MacroCode>(current().offset);
  code->name = expect_name();
  place_.scope->store(code->name, place_.conditions > 0);
  place_.scope->use(code->name, &node->slot);
  code->scope = open_scope(Scope::Kind::macro);
  place_.loops = 0;
  parse_signature(*code);
  parse_macro_body(*code, "endmacro");
  close_scope();
  node->code = code;
  return node;
}

const Stmt* Parser::parse_call_block() {
  auto* node = make<CallBlockStmt>(next().offset);
  auto* code = make<MacroCode>(current().offset);
  code->scope = open_scope(Scope::Kind::macro);
  place_.loops = 0;
  if (is_op("(")) parse_signature(*code);
  const Place place = place_;
  place_ = outer_places_.back();  // the call itself belongs outside
  node->call = dynamic_cast<const CallExpr*>(parse_expression());
  if (node->call == nullptr) throw SyntaxError{"expected a call", node->offset};
  outer_places_.back() = place_;
  place_ = place;
  parse_macro_body(*code, "endcall");
  close_scope();
  node->code = code;
  return node;
}

void Parser::parse_signature(MacroCode& code) {
  expect_op("(");
  bool optional = false;
  while (!is_op(")")) {
    if (!code.parameters.empty()) expect_op(",");
    MacroCode::Parameter parameter{.name = expect_name()};
    if (place_.scope->has_parameter(parameter.name)) fail_here("duplicate argument in a macro definition");
    place_.scope->parameter(parameter.name);
    if (skip_op("=")) {
      parameter.fallback = parse_expression();
    } else if (optional) {
      fail_here("non-default argument follows default argument");
    }
    optional = parameter.fallback != nullptr;
    code.parameters.push_back(std::move(parameter));
  }
  next();
  for (MacroCode::Parameter& parameter : code.parameters) place_.scope->use(parameter.name, &parameter.slot);
}

void Parser::parse_macro_body(MacroCode& code, std::string_view end) {
  code.body = parse_block({end});
  next();
  const std::array<std::pair<const char*, Slot*>, 3> specials = {
      {{"caller", &code.caller_slot}, {"kwargs", &code.kwargs_slot}, {"varargs", &code.varargs_slot}}};
  for (const auto& [name, slot] : specials) {
    const bool own = std::ranges::find(code.parameters, name, &MacroCode::Parameter::name) != code.parameters.end();
    if (!own && place_.scope->has_parameter(name)) place_.scope->use(name, slot);
  }
}

const Stmt* Parser::parse_filter_block() {
  auto* node = make<FilterBlockStmt>(next().offset);
  node->scope = open_scope(Scope::Kind::block);
  node->filters = parse_filter_chain();
  node->body = parse_block({"endfilter"});
  next();
  close_scope();
  return node;
}

std::vector<const FilterExpr*> Parser::parse_filter_chain() {
  std::vector<const FilterExpr*> filters;
  do {
    filters.push_back(parse_filter(nullptr));
  } while (skip_op("|"));
  return filters;
}

const Stmt* Parser::parse_print() {
  auto* node = make<PrintStmt>(next().offset);
  while (!is(TokenKind::block_end)) {
    if (!node->values.empty()) expect_op(",");
    node->values.push_back(parse_expression());
  }
  return node;
}

const Stmt* Parser::parse_loop_control() {
  if (place_.loops == 0) fail_here(fmt::format("'{}' outside a loop", current().text));
  auto* node = make<LoopControlStmt>(current().offset);
  node->flow = next().text == "break" ? Flow::break_loop : Flow::continue_loop;
  return node;
}

Target* Parser::parse_target(bool with_namespaces) {
  const size_t offset = current().offset;
  Target* first = parse_single_target(with_namespaces);
  if (!is_op(",")) return first;
  auto* tuple = make<Target>(offset);
  tuple->is_tuple = true;
  tuple->parts.push_back(first);
  while (skip_op(",")) {
    if (at_tuple_end()) break;
    tuple->parts.push_back(parse_single_target(with_namespaces));
  }
  return tuple;
}

Target* Parser::parse_single_target(bool with_namespaces) {
  const Nest nest(*this);
  if (skip_op("(")) {
    Target* inner = parse_target(with_namespaces);
    expect_op(")");
    return inner;
  }
  auto* target = make<Target>(current().offset);
  target->name = expect_name();
  constexpr std::array<std::string_view, 6> kConstants = {"true", "false", "none", "True", "False", "None"};
  if (std::ranges::find(kConstants, target->name) != kConstants.end()) {
    throw SyntaxError{"can't assign to a constant", target->offset};
  }
  if (with_namespaces && skip_op(".")) target->attribute = expect_name();
  return target;
}

void Parser::declare(Target* target, Declare how) {
  for (const Target* part : target->parts) declare(const_cast<Target*>(part), how);
  if (target->is_tuple) return;
  Scope& scope = *place_.scope;
  if (!target->attribute.empty()) return load_name(target->name, &target->slot);
  if (how == Declare::parameter) {
    scope.parameter(target->name);
  } else {
    if (target->name == "loop" && open_loops_ > 0) {
      throw SyntaxError{"can't assign to special loop variable in a for-loop", target->offset};
    }
    scope.store(target->name, place_.conditions > 0);
  }
  scope.use(target->name, &target->slot);
}

Scope* Parser::open_scope(Scope::Kind kind) {
  program_.scopes.push_back(std::make_unique<Scope>(kind, place_.scope));
  outer_places_.push_back(place_);
  place_ = {.scope = program_.scopes.back().get(), .loops = place_.loops, .n_soft = soft_unknowns_.size()};
  return place_.scope;
}

void Parser::close_scope() {
  // A scope's code is compiled on its own: conditions around the scope do not guard it.
  const auto first = soft_unknowns_.begin() + static_cast<ptrdiff_t>(place_.n_soft);
  unknowns_.insert(unknowns_.end(), first, soft_unknowns_.end());
  drop_soft_unknowns(place_.n_soft);
  place_ = outer_places_.back();
  outer_places_.pop_back();
}

// Reading `loop` makes it a parameter of the loop around; reading `caller`, `kwargs` or `varargs`, of the macros
// around.
void Parser::load_name(const std::string& name, Slot* slot) {
  const bool is_loop = name == "loop";
  if (is_loop || name == "caller" || name == "kwargs" || name == "varargs") {
    for (Scope* scope = place_.scope; scope != nullptr; scope = scope->parent()) {
      if (scope->kind() != (is_loop ? Scope::Kind::loop : Scope::Kind::macro)) continue;
      scope->parameter(name);
      if (is_loop) break;
    }
  }
  place_.scope->load(name);
  place_.scope->use(name, slot);
}

Program parse(std::string_view source) {
  return Parser(source).run();
}

}  // namespace arc::jinja
