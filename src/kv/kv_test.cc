// Tests of kv: geometry rules, the pool against a model of itself, prefix hits per kind of group, events, pins.
#include <algorithm>
#include <deque>
#include <map>
#include <numeric>
#include <set>
#include <string>

#include "gtest/gtest.h"

#include "base/counter_rng.h"
#include "base/error.h"
#include "kv/kv_cache.h"

namespace arc {
namespace {

using Kind = CacheGroup::Kind;

CacheGroup group_of(Kind kind, int32_t tokens_per_block = 4, int32_t window = 0, int32_t n_blocks = 32) {
  return {.kind = kind, .tokens_per_block = tokens_per_block, .window = window, .n_blocks = n_blocks};
}

TEST(CacheGeometry, RefusesWhatCannotWork) {
  const auto refused = [](std::vector<CacheGroup> groups) {
    try {
      check_geometry({.groups = std::move(groups)});
    } catch (const Error& e) {
      return e.code() == ErrorCode::invalid_argument;
    }
    return false;
  };
  EXPECT_FALSE(refused({group_of(Kind::full), group_of(Kind::sliding, 4, 9), group_of(Kind::state, 8)}));
  EXPECT_FALSE(refused({}));
  EXPECT_TRUE(refused(std::vector<CacheGroup>(kMaxCacheGroups + 1, group_of(Kind::full))));
  EXPECT_TRUE(refused({group_of(Kind::full, 0)}));
  EXPECT_TRUE(refused({group_of(Kind::full, 4), group_of(Kind::latent, 8)}));
  EXPECT_TRUE(refused({group_of(Kind::full, 4), group_of(Kind::state, 6)}));
  EXPECT_TRUE(refused({group_of(Kind::state, 4), group_of(Kind::state, 8)}));
  EXPECT_TRUE(refused({group_of(Kind::sliding)}));
  EXPECT_TRUE(refused({group_of(Kind::full, 4, 8)}));
  EXPECT_TRUE(refused({group_of(Kind::full, 4, 0, 1)}));
}

TEST(CacheGeometry, FirstNeededBlockHoldsTheOldestPositionInTheWindow) {
  for (int32_t window = 1; window < 12; ++window) {
    const CacheGroup group = group_of(Kind::sliding, 4, window);
    for (int32_t n = 0; n < 40; ++n) {
      int32_t oldest = n;
      while (oldest > 0 && n - (oldest - 1) < window) --oldest;
      EXPECT_EQ(first_needed_block(group, n), oldest / 4) << window << " " << n;
    }
  }
}

// The pool against lists that are searched.
TEST(BlockPool, BehavesLikeAModelOfItself) {
  BlockPool pool(9);
  std::map<int32_t, int32_t> references;
  std::set<int32_t> keep;
  std::deque<int32_t> free(8), cached;
  std::iota(free.begin(), free.end(), 1);
  const auto put_back = [&](int32_t b) { (keep.contains(b) ? cached : free).push_back(b); };
  for (uint32_t i = 0; i < 20'000; ++i) {
    const Philox r = philox(3, i, 0);
    const int32_t b = 1 + static_cast<int32_t>(r.word[1] % 8);
    switch (r.word[0] % 4) {
      case 0: {
        std::deque<int32_t>& list = free.empty() ? cached : free;
        const int32_t expected = list.empty() ? kNoBlock : list.front();
        ASSERT_EQ(pool.take(), expected);
        if (list.empty()) break;
        list.pop_front();
        keep.erase(expected);
        references[expected] = 1;
        break;
      }
      case 1:
        if (references[b] == 0 && !keep.contains(b)) break;
        pool.retain(b);
        if (references[b]++ == 0) std::erase(cached, b);
        break;
      case 2:
        if (references[b] == 0) break;
        pool.release(b);
        if (--references[b] == 0) put_back(b);
        break;
      default: {
        const bool on = r.word[2] % 2;
        const bool was = keep.contains(b);
        pool.set_keep(b, on);
        if (on) keep.insert(b);
        if (!on) keep.erase(b);
        if (references[b] > 0 || on == was) break;
        std::erase(on ? free : cached, b);
        put_back(b);
      }
    }
    ASSERT_EQ(pool.references(b), references[b]);
    ASSERT_EQ(pool.keep(b), keep.contains(b));
    ASSERT_EQ(pool.n_available(), static_cast<int32_t>(free.size() + cached.size()));
  }
}

// A sequence as the cache sees it: content, tables, chain.
struct Holder {
  KvCache& cache;
  std::vector<int32_t> tokens;
  std::vector<MediaSpan> media = {};
  std::vector<int32_t> scope = {};
  std::vector<BlockTable> tables = std::vector<BlockTable>(static_cast<size_t>(cache.n_groups()));
  std::vector<Hash128> chain = {};

  PrefixContent content() const { return {tokens, media, scope}; }
  int32_t adopt() { return cache.adopt_prefix(content(), static_cast<int32_t>(tokens.size()) - 1, chain, tables); }
  // Computes everything with one state checkpoint at the end, publishes, and leaves what the window leaves.
  void compute() {
    const int32_t n_tiles = static_cast<int32_t>(tokens.size()) / cache.tile_tokens();
    for (int g = 0; g < cache.n_groups(); ++g) {
      const int32_t n_blocks = cache.is_state(g) ? 1 : n_tiles;
      while (tables[g].end() < n_blocks) tables[g].blocks.push_back(cache.take(g));
    }
    cache.publish(content(), 0, n_tiles, chain, tables);
    for (int g = 0; g < cache.n_groups(); ++g) {
      if (cache.is_state(g)) cache.publish_state(g, content(), n_tiles, chain, tables[g]);
    }
  }
  void leave() {
    for (int g = 0; g < cache.n_groups(); ++g) {
      cache.shrink(g, tables[g], 0);
      tables[g].first = 0;
    }
  }
};

std::vector<int32_t> range(int32_t n, int32_t from = 0) {
  std::vector<int32_t> out(static_cast<size_t>(n));
  std::iota(out.begin(), out.end(), from);
  return out;
}

TEST(Prefix, HitsAreWholeTilesAndLeaveATokenToCompute) {
  KvCache cache({.groups = {group_of(Kind::full)}}, {});
  Holder first{cache, range(10)};
  EXPECT_EQ(first.adopt(), 0);
  first.compute();
  for (int32_t n = 1; n <= 12; ++n) {
    Holder other{cache, range(n)};
    EXPECT_EQ(other.adopt(), std::min(8, (n - 1) / 4 * 4)) << n;
    EXPECT_EQ(other.tables[0].blocks, std::vector<int32_t>(first.tables[0].blocks.begin(),
                                                           first.tables[0].blocks.begin() + std::min(2, (n - 1) / 4)));
    other.leave();
  }
}

TEST(Prefix, ScopeMediaAndTokensSeparate) {
  KvCache cache({.groups = {group_of(Kind::full)}}, {});
  const std::vector<MediaSpan> image = {{.first_position = 2, .n_positions = 4, .hash = {.low = 1, .high = 0}}};
  const std::vector<MediaSpan> other_image = {{.first_position = 2, .n_positions = 4, .hash = {.low = 2, .high = 0}}};
  const std::vector<MediaSpan> late_image = {{.first_position = 6, .n_positions = 2, .hash = {.low = 1, .high = 0}}};
  Holder first{cache, range(9), image, {7}};
  first.compute();
  EXPECT_EQ((Holder{cache, range(9), image, {7}}.adopt()), 8);
  EXPECT_EQ((Holder{cache, range(9), image, {8}}.adopt()), 0);
  EXPECT_EQ((Holder{cache, range(9), image, {}}.adopt()), 0);
  EXPECT_EQ((Holder{cache, range(9), other_image, {7}}.adopt()), 0);
  EXPECT_EQ((Holder{cache, range(9), {}, {7}}.adopt()), 0);
  EXPECT_EQ((Holder{cache, range(9, 1), image, {7}}.adopt()), 0);
  Holder later{cache, range(9), late_image, {7}};
  later.compute();
  EXPECT_EQ((Holder{cache, range(9), late_image, {7}}.adopt()), 8);
}

// The chain is given by the caller, so a collision of hashes is easy to feign.
TEST(Prefix, EqualHashesOfUnequalTokensAreNoHit) {
  KvCache cache({.groups = {group_of(Kind::full)}}, {});
  Holder first{cache, range(9)};
  first.compute();
  Holder liar{cache, range(9, 50)};
  liar.chain = first.chain;
  EXPECT_EQ(liar.adopt(), 0);
  liar.compute();  // may not take the node over
  EXPECT_FALSE(cache.published(0, liar.tables[0].blocks[0]));
  EXPECT_EQ((Holder{cache, range(9)}.adopt()), 8);
}

TEST(Prefix, SlidingGroupsNeedTheWindowOnly) {
  KvCache cache({.groups = {group_of(Kind::full), group_of(Kind::sliding, 4, 5, 5)}}, {});
  Holder first{cache, range(13)};
  first.compute();
  first.leave();
  // Three tiles are stored; 4 blocks of the sliding group are in the pool. Taking two evicts the latest tile last.
  Holder hit{cache, range(13)};
  EXPECT_EQ(hit.adopt(), 12);
  EXPECT_EQ(hit.tables[1].first, 2);  // position 12 sees 8 to 12
  EXPECT_EQ(hit.tables[1].blocks.size(), 1u);
  EXPECT_EQ(hit.tables[0].blocks.size(), 3u);
  const int32_t kept = hit.tables[1].blocks[0];
  for (int i = 0; i < 3; ++i) EXPECT_NE(cache.take(1), kept);
  EXPECT_EQ(cache.take(1), kNoBlock);
  Holder again{cache, range(13)};
  EXPECT_EQ(again.adopt(), 12);
  // At 8 positions the window would need tile 1, which is gone.
  EXPECT_EQ((Holder{cache, range(9)}.adopt()), 0);
}

// A window of one token holds what belongs to the tile being filled: hits need none of it, and none is kept for them.
TEST(Prefix, AWindowOfOneTokenIsNeitherNeededNorKept) {
  KvCache cache({.groups = {group_of(Kind::full), group_of(Kind::sliding, 4, 1, 6)}}, {});
  Holder first{cache, range(13)};
  first.compute();
  EXPECT_TRUE(cache.published(0, first.tables[0].blocks[0]));
  for (const int32_t block : first.tables[1].blocks) EXPECT_FALSE(cache.published(1, block));
  Holder hit{cache, range(13)};
  EXPECT_EQ(hit.adopt(), 12);
  EXPECT_EQ(hit.tables[1].first, 3);
  EXPECT_TRUE(hit.tables[1].blocks.empty());
}

TEST(Prefix, StateGroupsNeedACheckpointAtExactlyTheEnd) {
  KvCache cache({.groups = {group_of(Kind::full), group_of(Kind::state, 8)}}, {});
  Holder first{cache, range(16)};
  first.compute();
  EXPECT_EQ((Holder{cache, range(13)}.adopt()), 0);  // 12 positions of keys, but no state after 8
  Holder hit{cache, range(20)};
  EXPECT_EQ(hit.adopt(), 16);
  EXPECT_EQ(hit.tables[1].blocks, first.tables[1].blocks);
}

TEST(Prefix, LateTilesAreEvictedBeforeEarlyOnes) {
  KvCache cache({.groups = {group_of(Kind::full, 4, 0, 5)}}, {});
  Holder first{cache, range(16)};
  first.compute();
  first.leave();
  EXPECT_EQ(cache.n_available(0), 4);
  for (int32_t left = 12; left >= 0; left -= 4) {
    EXPECT_NE(cache.take(0), kNoBlock);
    Holder probe{cache, range(17)};
    EXPECT_EQ(probe.adopt(), left);
    probe.leave();
  }
  EXPECT_TRUE(cache.index().nodes().empty());
}

TEST(Prefix, EqualTilesComputedTwiceBecomeOne) {
  KvCache cache({.groups = {group_of(Kind::full)}}, {});
  Holder a{cache, range(8)}, b{cache, range(8)};
  a.compute();
  b.compute();
  EXPECT_EQ(a.tables[0].blocks, b.tables[0].blocks);
  EXPECT_EQ(cache.n_available(0), 31 - 2);
}

TEST(Prefix, OffMeansOff) {
  KvCache cache({.groups = {group_of(Kind::full)}}, {.prefix_cache = false});
  Holder first{cache, range(9)};
  first.compute();
  EXPECT_EQ((Holder{cache, range(9)}.adopt()), 0);
  EXPECT_TRUE(cache.index().nodes().empty());
}

struct Recorder : KvObserver {
  struct Stored {
    Hash128 parent{};
    std::vector<int32_t> tokens;
  };
  std::map<std::pair<int, uint64_t>, Stored> blocks;
  void stored(int group, const Hash128& hash, const Hash128& parent, std::span<const int32_t> tokens) override {
    EXPECT_TRUE(blocks.emplace(std::pair(group, hash.low), Stored{parent, {tokens.begin(), tokens.end()}}).second);
  }
  void removed(int group, const Hash128& hash) override { EXPECT_EQ(blocks.erase({group, hash.low}), 1u); }
};

TEST(KvObserver, SeesEveryBlockComeAndGo) {
  Recorder recorder;
  KvCache cache({.groups = {group_of(Kind::full, 4, 0, 4), group_of(Kind::latent, 4, 0, 4)}}, {.observer = &recorder});
  Holder first{cache, range(8)};
  first.compute();
  EXPECT_EQ(recorder.blocks.size(), 4u);
  const Recorder::Stored& second = recorder.blocks.at({1, first.chain[1].low});
  EXPECT_EQ(second.parent, first.chain[0]);
  EXPECT_EQ(second.tokens, range(4, 4));
  EXPECT_EQ(recorder.blocks.at({0, first.chain[0].low}).parent, Hash128{});
  first.leave();
  for (int i = 0; i < 3; ++i) cache.take(0);
  EXPECT_EQ(recorder.blocks.size(), 2u);
}

TEST(Pins, KeepBlocksFromEviction) {
  KvCache cache({.groups = {group_of(Kind::full, 4, 0, 4)}}, {});
  Holder first{cache, range(9)};
  first.compute();
  const BlockRef ref{.group = 0, .block = first.tables[0].blocks[0]};
  const PinId pin = cache.pin({&ref, 1});
  first.leave();
  while (cache.take(0) != kNoBlock) {
  }
  Holder probe{cache, range(9)};
  EXPECT_EQ(probe.adopt(), 4);
  probe.leave();
  cache.unpin(pin);
  EXPECT_EQ(cache.take(0), ref.block);
}

TEST(Remote, BlocksAreServedOnlyAfterTheyArrive) {
  for (const bool success : {true, false}) {
    KvCache cache({.groups = {group_of(Kind::full), group_of(Kind::latent)}}, {});
    Holder remote{cache, range(5)}, probe{cache, range(5)};
    PinId pin = 0, second = 0;
    ASSERT_TRUE(cache.expect_remote(remote.content(), 0, remote.chain, &pin));
    EXPECT_FALSE(cache.expect_remote(remote.content(), 0, remote.chain, &second));
    EXPECT_EQ(cache.n_available(0), 30);
    EXPECT_EQ(probe.adopt(), 0);
    cache.remote_arrived(pin, success);
    EXPECT_EQ(cache.n_available(0), 31);
    EXPECT_EQ(probe.adopt(), success ? 4 : 0);
    EXPECT_EQ(cache.index().nodes().size(), success ? 1u : 0u);
  }
}

}  // namespace
}  // namespace arc
