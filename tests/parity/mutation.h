// What the mutation check changes in a golden: its tensors and the keys of its config, one at a time.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "parity/golden.h"

namespace arc::test {

// Names of the tensors to perturb: one of each kind (the name without layer and expert), dealt over layers and experts,
// or all. Tensors that a loader skips are left out.
std::vector<std::string> parameters(const Golden& golden, bool all);

// One of the two spellings of a golden's config.
struct Dialect {
  std::string_view file;  // "config.json"
  const std::string& text;
};
std::vector<Dialect> dialects(const Golden& golden);

struct ConfigKey {
  struct Change {
    std::string value;   // "8.0"
    std::string config;  // the whole document with this value
  };
  // How many of the changes must be noticed.
  enum class Notice : uint8_t { every, some, none };
  std::string name;  // "rope_scaling/factor"; a text_config around it is left out
  Notice notice = Notice::every;
  std::vector<Change> changes;
};
std::vector<ConfigKey> config_keys(const Golden& golden, const Dialect& dialect);

// The config with the key `name` added to one of its objects; one such config for each object.
std::vector<std::string> with_unknown_key(const Dialect& dialect, std::string_view name);

// Keys in the list of exemptions that no golden has.
std::vector<std::string> stale_exemptions();

}  // namespace arc::test
