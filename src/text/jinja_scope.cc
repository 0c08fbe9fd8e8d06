#include "text/jinja_scope.h"

namespace arc::jinja {

Scope::Symbol& Scope::symbol(const std::string& name) {
  const auto [it, is_new] = symbol_index_.emplace(name, symbols_.size());
  return is_new ? symbols_.emplace_back(Symbol{.name = name}) : symbols_[it->second];
}

void Scope::parameter(const std::string& name) {
  symbol(name).is_parameter = true;
}

void Scope::load(const std::string& name) {
  symbol(name);
}

void Scope::store(const std::string& name, bool conditional) {
  const size_t n_known = symbols_.size();
  Symbol& target = symbol(name);
  if (symbols_.size() > n_known) target.starts_empty = !conditional;
  target.is_stored = true;
}

bool Scope::has_parameter(const std::string& name) const {
  const auto it = symbol_index_.find(name);
  return it != symbol_index_.end() && symbols_[it->second].is_parameter;
}

Slot Scope::find(const std::string& name) const {
  Slot slot;
  for (const Scope* scope = this; scope != nullptr; scope = scope->parent_, ++slot.hops) {
    const auto it = scope->variable_index_.find(name);
    if (it == scope->variable_index_.end()) continue;
    slot.index = it->second;
    return slot;
  }
  return {};
}

void Scope::resolve() {
  for (const Symbol& symbol : symbols_) {
    Variable variable{.name = symbol.name,
                      .outer = parent_ ? parent_->find(symbol.name) : Slot{},
                      .undefined = Value::undefined(fmt::format("'{}' is undefined", symbol.name))};
    const bool has_outer = variable.outer.index >= 0;
    if (symbol.is_parameter) {
      variable.load = Load::parameter;
    } else if (has_outer && !symbol.is_stored) {
      continue;  // the outer variable itself
    } else if (has_outer) {
      variable.load = Load::outer;
    } else {
      variable.load = symbol.starts_empty ? Load::nothing : Load::context;
    }
    variable_index_.emplace(symbol.name, static_cast<int>(variables_.size()));
    variables_.push_back(std::move(variable));
  }
  for (const auto& [name, slot] : uses_) *slot = find(name);
}

}  // namespace arc::jinja
