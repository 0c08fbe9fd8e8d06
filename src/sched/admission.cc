#include "sched/admission.h"

#include <algorithm>

#include "fmt/format.h"

#include "base/error.h"

namespace arc {

using Kind = CacheGroup::Kind;

int32_t peak_blocks(const CacheGroup& group, int32_t n_positions) {
  if (group.kind == Kind::state) return 1;
  const int32_t whole = blocks_for_tokens(n_positions, group.tokens_per_block);
  if (group.kind != Kind::sliding) return whole;
  return std::min(whole, blocks_for_tokens(group.window - 1, group.tokens_per_block) + 1);
}

void check_fits_alone(const CacheGeometry& geometry, int32_t n_positions) {
  for (const CacheGroup& group : geometry.groups) {
    const int32_t need = peak_blocks(group, n_positions), have = group.n_blocks - 1;
    if (need <= have) continue;
    throw Error(ErrorCode::resource,
                fmt::format("the request needs {} cache blocks for {} tokens, but the cache has {}; "
                            "shorten the prompt, lower max_tokens, or give the cache more memory",
                            need, n_positions, have));
  }
}

int32_t blocks_to_take(const CacheGroup& group, const TableState& table, int32_t n_tokens) {
  const int32_t end = blocks_for_tokens(table.n_computed + n_tokens, group.tokens_per_block);
  return std::max(0, end - table.end) + (table.must_copy ? 1 : 0);
}

int32_t tokens_that_fit(const CacheGroup& group, const TableState& table, int32_t n_tokens, int32_t n_available) {
  const int32_t spare = n_available - (table.must_copy ? 1 : 0);
  if (spare < 0) return 0;
  const int64_t room = (int64_t{table.end} + spare) * group.tokens_per_block - table.n_computed;
  return static_cast<int32_t>(std::clamp<int64_t>(room, 0, n_tokens));
}

}  // namespace arc
