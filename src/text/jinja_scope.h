// Variables of a template, resolved to slots before it runs. The rules are those of Jinja's compiler: a name that a
// scope assigns is the scope's own everywhere in it, starting from the outer variable or the context's.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "text/jinja_value.h"

namespace arc::jinja {

// Where a variable lives: `hops` frames outwards, then `index`. Index -1: nowhere.
struct Slot {
  int hops = 0;
  int index = -1;
};

class Scope {
 public:
  enum class Kind { root, loop, macro, block };

  // What a variable holds when its frame is entered.
  enum class Load { parameter, outer, context, nothing };
  struct Variable {
    std::string name;
    Load load = Load::nothing;
    Slot outer;       // from the parent, for Load::outer
    Value undefined;  // what reading it gives while it has no value
  };

  Scope(Kind kind, Scope* parent) : kind_(kind), parent_(parent) {}

  // In the order of the text, while it is parsed.
  void parameter(const std::string& name);
  void load(const std::string& name);
  void store(const std::string& name, bool conditional);
  void use(const std::string& name, Slot* slot) { uses_.emplace_back(name, slot); }
  bool has_parameter(const std::string& name) const;

  // After the whole template is parsed; the parent first.
  void resolve();

  Kind kind() const { return kind_; }
  Scope* parent() const { return parent_; }
  const std::vector<Variable>& variables() const { return variables_; }

 private:
  struct Symbol {
    std::string name;
    bool is_parameter = false;
    bool is_stored = false;
    bool starts_empty = false;  // certainly assigned before it is read
  };

  Symbol& symbol(const std::string& name);
  Slot find(const std::string& name) const;

  Kind kind_;
  Scope* parent_;
  std::vector<Symbol> symbols_;
  std::unordered_map<std::string, size_t> symbol_index_;
  std::vector<std::pair<std::string, Slot*>> uses_;
  std::vector<Variable> variables_;
  std::unordered_map<std::string, int> variable_index_;
};

using FramePtr = std::shared_ptr<struct Frame>;

// The variables of a scope that runs. Macros keep the frames around their definition alive.
struct Frame {
  FramePtr parent;
  Values slots;
  bool is_kept = false;  // the renderer holds it to the end

  Value& at(Slot slot) {
    Frame* frame = this;
    for (int i = 0; i < slot.hops; ++i) frame = frame->parent.get();
    return frame->slots[static_cast<size_t>(slot.index)];
  }
};

}  // namespace arc::jinja
