// Against the definition, pair by pair.
#include "engine/key_reads.h"

#include "gtest/gtest.h"

namespace arc {
namespace {

CacheNeeds group(KvPolicy::Codec codec, int recent, int window, std::vector<int32_t> layers) {
  CacheNeeds needs{.kind = window > 0 ? CacheKind::sliding : CacheKind::full,
                   .window = window,
                   .policy = {.k = {.codec = codec}, .v = {.codec = codec}, .recent = static_cast<uint16_t>(recent)},
                   .layers = std::move(layers)};
  return needs;
}

TEST(KeyReads, CountPairsOfAQueryAndAKeyThatItSees) {
  using Codec = KvPolicy::Codec;
  const std::vector<CacheNeeds> groups = {
      group(Codec::turbo, 0, 0, {0, 5}),        group(Codec::turbo, 2, 0, {1}),
      group(Codec::turbo, 1, 300, {2}),         group(Codec::raw, 0, 0, {3}),
      group(Codec::f8e4m3, 0, 70, {4}),         {.kind = CacheKind::open, .layers = {0}},
      {.kind = CacheKind::state, .layers = {6}}};
  for (const auto& [begin, end] : {std::pair{0, 1}, {0, 64}, {63, 65}, {100, 400}, {7, 7}}) {
    int64_t all = 0, coded = 0;
    for (const CacheNeeds& g : groups) {
      if (g.kind == CacheKind::open || g.kind == CacheKind::state) continue;
      for (int i = begin; i < end; ++i) {
        for (int j = 0; j <= i; ++j) {
          if (g.window > 0 && i - j >= g.window) continue;
          const bool packed = i / kTileTokens - j / kTileTokens > g.policy.recent;
          all += static_cast<int64_t>(g.layers.size());
          coded += g.policy.is_raw() || (g.policy.tiled() && !packed) ? 0 : static_cast<int64_t>(g.layers.size());
        }
      }
    }
    const KeyReads reads = key_reads(groups, begin, end);
    EXPECT_EQ(reads.all, all) << begin;
    EXPECT_EQ(reads.coded, coded) << begin;
  }
}

}  // namespace
}  // namespace arc
