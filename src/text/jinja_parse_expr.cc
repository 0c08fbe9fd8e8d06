// The parser's expressions, loosest binding first.
#include <array>

#include "text/jinja_functions.h"
#include "text/jinja_parser_impl.h"

namespace arc::jinja {
namespace {

constexpr size_t kMaxKeywords = 255;  // in one call

}  // namespace

const Expr* Parser::parse_conditional() {
  const Nest nest(*this);
  const size_t mark = soft_unknowns_.size();
  const Expr* expr = parse_or();
  while (is_name("if")) {
    auto* node = make<ConditionalExpr>(next().offset);
    node->yes = expr;
    node->test = parse_or();
    if (skip_name("else")) node->no = parse_conditional();
    drop_soft_unknowns(mark);
    expr = node;
  }
  return expr;
}

const Expr* Parser::parse_or() {
  const Expr* left = parse_and();
  while (is_name("or")) {
    auto* node = make<LogicExpr>(next().offset);
    node->is_or = true;
    node->left = left;
    node->right = parse_and();
    left = node;
  }
  return left;
}

const Expr* Parser::parse_and() {
  const Expr* left = parse_not();
  while (is_name("and")) {
    auto* node = make<LogicExpr>(next().offset);
    node->left = left;
    node->right = parse_not();
    left = node;
  }
  return left;
}

const Expr* Parser::parse_not() {
  if (!is_name("not")) return parse_compare();
  const Nest nest(*this);
  auto* node = make<NotExpr>(next().offset);
  node->operand = parse_not();
  return node;
}

const Expr* Parser::parse_compare() {
  const size_t offset = current().offset;
  const Expr* first = parse_sum();
  CompareExpr* node = nullptr;
  Comparison op = Comparison::eq;
  while (parse_comparison(op)) {
    if (node == nullptr) {
      node = make<CompareExpr>(offset);
      node->first = first;
    }
    node->rest.emplace_back(op, parse_sum());
  }
  return node ? node : first;
}

bool Parser::parse_comparison(Comparison& op) {
  constexpr std::array<std::pair<std::string_view, Comparison>, 6> kComparisons = {{{"==", Comparison::eq},
                                                                                    {"!=", Comparison::ne},
                                                                                    {"<", Comparison::lt},
                                                                                    {"<=", Comparison::le},
                                                                                    {">", Comparison::gt},
                                                                                    {">=", Comparison::ge}}};
  for (const auto& [text, comparison] : kComparisons) {
    if (!skip_op(text)) continue;
    op = comparison;
    return true;
  }
  if (skip_name("in")) {
    op = Comparison::in;
    return true;
  }
  if (!is_name("not") || ahead().kind != TokenKind::name || ahead().text != "in") return false;
  next();
  next();
  op = Comparison::not_in;
  return true;
}

const Expr* Parser::binary(Operator op, const Expr* left, const Expr* right, size_t offset) {
  auto* node = make<BinaryExpr>(offset);
  node->op = op;
  node->left = left;
  node->right = right;
  return node;
}

const Expr* Parser::parse_sum() {
  const Expr* left = parse_concat();
  while (is_op("+") || is_op("-")) {
    const Operator op = is_op("+") ? Operator::add : Operator::subtract;
    const size_t offset = next().offset;
    left = binary(op, left, parse_concat(), offset);
  }
  return left;
}

const Expr* Parser::parse_concat() {
  const size_t offset = current().offset;
  const Expr* first = parse_product();
  if (!is_op("~")) return first;
  auto* node = make<ConcatExpr>(offset);
  node->parts.push_back(first);
  while (skip_op("~")) node->parts.push_back(parse_product());
  return node;
}

const Expr* Parser::parse_product() {
  constexpr std::array<std::pair<std::string_view, Operator>, 4> kOperators = {
      {{"*", Operator::multiply}, {"/", Operator::divide}, {"//", Operator::floor_divide}, {"%", Operator::modulo}}};
  const Expr* left = parse_power();
  while (is(TokenKind::op)) {
    const auto* op = std::ranges::find(kOperators, current().text, &std::pair<std::string_view, Operator>::first);
    if (op == kOperators.end()) break;
    const size_t offset = next().offset;
    left = binary(op->second, left, parse_power(), offset);
  }
  return left;
}

const Expr* Parser::parse_power() {
  const Expr* left = parse_unary();
  while (is_op("**")) {
    const size_t offset = next().offset;
    left = binary(Operator::power, left, parse_unary(), offset);
  }
  return left;
}

const Expr* Parser::parse_unary(bool with_filters) {
  const Expr* expr = nullptr;
  if (is_op("-") || is_op("+")) {
    const Nest nest(*this);
    auto* sign = make<SignExpr>(current().offset);
    sign->negative = next().text == "-";
    sign->operand = parse_unary(false);
    expr = sign;
  } else {
    expr = parse_primary();
  }
  expr = parse_postfix(expr);
  return with_filters ? parse_filters_and_tests(expr) : expr;
}

const Expr* Parser::parse_primary() {
  switch (current().kind) {
    case TokenKind::name:
      return parse_name();
    case TokenKind::string:
      return parse_string();
    case TokenKind::integer:
    case TokenKind::floating: {
      auto* node = make<ConstExpr>(current().offset);
      node->value = next().number;
      return node;
    }
    default:
      break;
  }
  if (skip_op("(")) {
    const Expr* inner = parse_tuple(true, true);
    expect_op(")");
    return inner;
  }
  if (is_op("[")) return parse_list();
  if (is_op("{")) return parse_dict();
  fail_expected("an expression");
}

const Expr* Parser::parse_name() {
  const Token& token = next();
  const std::string& name = token.text;
  const bool is_true = name == "true" || name == "True";
  if (is_true || name == "false" || name == "False") {
    auto* node = make<ConstExpr>(token.offset);
    node->value = is_true;
    return node;
  }
  if (name == "none" || name == "None") return make<ConstExpr>(token.offset);
  auto* node = make<NameExpr>(token.offset);
  load_name(name, &node->slot);
  return node;
}

const Expr* Parser::parse_string() {
  auto* node = make<ConstExpr>(current().offset);
  std::string text;
  while (is(TokenKind::string)) text += next().text;
  node->value = Value::written(std::move(text));
  return node;
}

const Expr* Parser::parse_list() {
  auto* node = make<SequenceExpr>(next().offset);
  while (!is_op("]")) {
    if (!node->items.empty()) expect_op(",");
    if (is_op("]")) break;
    node->items.push_back(parse_expression());
  }
  next();
  return node;
}

const Expr* Parser::parse_dict() {
  auto* node = make<DictExpr>(next().offset);
  while (!is_op("}")) {
    if (!node->entries.empty()) expect_op(",");
    if (is_op("}")) break;
    const Expr* key = parse_expression();
    expect_op(":");
    node->entries.emplace_back(key, parse_expression());
  }
  next();
  return node;
}

bool Parser::at_tuple_end() const {
  return is(TokenKind::variable_end) || is(TokenKind::block_end) || is_op(")");
}

const Expr* Parser::parse_tuple(bool conditional, bool in_parentheses) {
  const size_t offset = current().offset;
  std::vector<const Expr*> items;
  bool is_tuple = false;
  while (!at_tuple_end()) {
    items.push_back(conditional ? parse_expression() : parse_or());
    if (!is_op(",")) break;
    is_tuple = true;
    next();
  }
  if (!is_tuple && !items.empty()) return items[0];
  if (!is_tuple && !in_parentheses) fail_expected("an expression");
  auto* node = make<SequenceExpr>(offset);
  node->form = List::Form::tuple;
  node->items = std::move(items);
  return node;
}

const Expr* Parser::parse_postfix(const Expr* expr) {
  while (true) {
    if (is_op(".") || is_op("[")) {
      expr = parse_subscript(expr);
    } else if (is_op("(")) {
      expr = parse_call(expr);
    } else {
      return expr;
    }
  }
}

const Expr* Parser::parse_filters_and_tests(const Expr* expr) {
  while (true) {
    if (skip_op("|")) {
      expr = parse_filter(expr);
    } else if (is_name("is")) {
      expr = parse_test(expr);
    } else if (is_op("(")) {
      expr = parse_call(expr);
    } else {
      return expr;
    }
  }
}

const Expr* Parser::parse_subscript(const Expr* object) {
  const size_t offset = current().offset;
  if (next().text == ".") {
    if (is(TokenKind::name)) {
      auto* node = make<AttributeExpr>(offset);
      node->object = object;
      node->name = next().text;
      return node;
    }
    if (!is(TokenKind::integer)) fail_expected("a name or number");
    auto* key = make<ConstExpr>(current().offset);
    key->value = next().number;
    auto* node = make<ItemExpr>(offset);
    node->object = object;
    node->key = key;
    return node;
  }
  std::vector<const Expr*> keys;
  while (!is_op("]")) {
    if (!keys.empty()) expect_op(",");
    const Expr* start = is_op(":") ? nullptr : parse_expression();
    if (is_op(":")) {
      const Expr* slice = parse_slice(object, start, offset);
      if (!keys.empty() || !is_op("]")) fail_here("a slice must be alone in its brackets");
      next();
      return slice;
    }
    keys.push_back(start);
  }
  next();
  auto* node = make<ItemExpr>(offset);
  node->object = object;
  node->key = keys.empty() ? nullptr : keys[0];
  if (keys.size() != 1) {
    auto* tuple = make<SequenceExpr>(offset);
    tuple->form = List::Form::tuple;
    tuple->items = std::move(keys);
    node->key = tuple;
  }
  return node;
}

const Expr* Parser::parse_slice(const Expr* object, const Expr* start, size_t offset) {
  auto* node = make<SliceExpr>(offset);
  node->object = object;
  node->bounds[0] = start;
  for (int i = 1; i < 3 && skip_op(":"); ++i) {
    if (!is_op(":") && !is_op("]") && !is_op(",")) node->bounds[i] = parse_expression();
  }
  return node;
}

const Expr* Parser::parse_call(const Expr* callee) {
  auto* node = make<CallExpr>(current().offset);
  node->callee = callee;
  node->arguments = parse_arguments();
  return node;
}

Arguments Parser::parse_arguments() {
  Arguments arguments;
  expect_op("(");
  for (bool first = true; !is_op(")"); first = false) {
    if (!first) expect_op(",");
    if (is_op(")")) break;
    parse_argument(arguments);
  }
  next();
  return arguments;
}

void Parser::parse_argument(Arguments& arguments) {
  const auto require = [this](bool in_order) {
    if (!in_order) fail_here("invalid syntax for function call expression");
  };
  if (skip_op("*")) {
    require(arguments.star == nullptr && arguments.double_star == nullptr);
    arguments.star = parse_expression();
  } else if (skip_op("**")) {
    require(arguments.double_star == nullptr);
    arguments.double_star = parse_expression();
  } else if (is(TokenKind::name) && ahead().kind == TokenKind::op && ahead().text == "=") {
    require(arguments.double_star == nullptr);
    std::string name = next().text;
    next();
    if (arguments.named.size() == kMaxKeywords) fail_here("too many keyword arguments");
    for (const auto& [known, value] : arguments.named) {
      if (known == name) fail_here(fmt::format("keyword argument repeated: {}", name));
    }
    arguments.named.emplace_back(std::move(name), parse_expression());
  } else {
    require(arguments.star == nullptr && arguments.double_star == nullptr && arguments.named.empty());
    arguments.positional.push_back(parse_expression());
  }
}

FilterExpr* Parser::parse_filter(const Expr* subject) {
  auto* node = make<FilterExpr>(current().offset);
  node->subject = subject;
  node->name = expect_dotted_name();
  node->function = find_filter(node->name);
  if (node->function == nullptr) {
    soft_unknowns_.push_back({fmt::format("no filter named '{}'", node->name), node->offset, ErrorCode::unsupported});
  }
  if (is_op("(")) node->arguments = parse_arguments();
  return node;
}

const Expr* Parser::parse_test(const Expr* subject) {
  auto* node = make<TestExpr>(next().offset);
  NotExpr* negation = nullptr;
  if (skip_name("not")) {
    negation = make<NotExpr>(node->offset);
    negation->operand = node;
  }
  node->subject = subject;
  node->name = expect_dotted_name();
  node->function = find_test(node->name);
  if (node->function == nullptr) {
    soft_unknowns_.push_back({fmt::format("no test named '{}'", node->name), node->offset, ErrorCode::unsupported});
  }
  const bool literal =
      is(TokenKind::string) || is(TokenKind::integer) || is(TokenKind::floating) || is_op("[") || is_op("{");
  if (is_op("(")) {
    node->arguments = parse_arguments();
  } else if (literal || (is(TokenKind::name) && !is_name("else") && !is_name("or") && !is_name("and"))) {
    if (is_name("is")) fail_here("you cannot chain multiple tests with is");
    node->arguments.positional.push_back(parse_postfix(parse_primary()));
  }
  return negation ? static_cast<const Expr*>(negation) : node;
}

}  // namespace arc::jinja
