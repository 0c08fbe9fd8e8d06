// Tests of the admission arithmetic and the policies, against counting one by one.
#include "sched/admission.h"

#include <algorithm>
#include <set>
#include <string>

#include "gtest/gtest.h"

#include "base/error.h"
#include "sched/policy.h"

namespace arc {
namespace {

using Kind = CacheGroup::Kind;

TEST(Admission, PeakIsTheMostBlocksHeldAtAnyPosition) {
  for (int32_t window = 0; window < 14; ++window) {
    const CacheGroup group{.kind = window ? Kind::sliding : Kind::full, .tokens_per_block = 4, .window = window};
    for (int32_t n = 1; n < 40; ++n) {
      size_t most = 0;
      for (int32_t p = 0; p < n; ++p) {
        std::set<int32_t> blocks;
        for (int32_t j = 0; j <= p; ++j) {
          if (window == 0 || p - j < window) blocks.insert(j / 4);
        }
        most = std::max(most, blocks.size());
      }
      EXPECT_EQ(peak_blocks(group, n), static_cast<int32_t>(most)) << window << " " << n;
    }
  }
  EXPECT_EQ(peak_blocks({.kind = Kind::state}, 1000), 1);
}

TEST(Admission, ErrorNamesBothNumbers) {
  const CacheGeometry geometry{.groups = {{.tokens_per_block = 4, .n_blocks = 6}}};
  EXPECT_NO_THROW(check_fits_alone(geometry, 20));
  try {
    check_fits_alone(geometry, 21);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::resource);
    EXPECT_NE(std::string(e.what()).find("6 cache blocks for 21 tokens"), std::string::npos) << e.what();
    EXPECT_NE(std::string(e.what()).find("has 5"), std::string::npos) << e.what();
  }
}

TEST(Admission, TokensThatFitIsTheInverseOfBlocksToTake) {
  const CacheGroup group{.tokens_per_block = 4};
  for (int32_t n_computed = 0; n_computed < 12; ++n_computed) {
    for (const bool must_copy : {false, true}) {
      for (int32_t spare = 0; spare < 3; ++spare) {
        const TableState table{blocks_for_tokens(n_computed, 4) + spare, n_computed, must_copy};
        for (int32_t n_available = 0; n_available < 5; ++n_available) {
          int32_t most = 0;
          for (int32_t n = 1; n <= 9; ++n) {
            if (blocks_to_take(group, table, n) <= n_available) most = n;
          }
          EXPECT_EQ(tokens_that_fit(group, table, 9, n_available), most);
        }
      }
    }
  }
}

TEST(Policy, ChunksEndAtTheLastCheckpointTheyReach) {
  EXPECT_EQ(chunk_tokens(0, 100, 30, 0), 30);
  EXPECT_EQ(chunk_tokens(0, 100, 30, 8), 24);
  EXPECT_EQ(chunk_tokens(24, 76, 30, 8), 24);
  EXPECT_EQ(chunk_tokens(5, 95, 2, 8), 2);   // does not reach one
  EXPECT_EQ(chunk_tokens(5, 95, 3, 8), 3);   // ends there
  EXPECT_EQ(chunk_tokens(96, 4, 30, 8), 4);  // the tail
  EXPECT_EQ(chunk_tokens(0, 100, 0, 8), 0);
}

TEST(Policy, DraftsNeverFillATileNorOutgrowTheAnswer) {
  for (int32_t position = 0; position < 16; ++position) {
    for (int32_t n_new = 1; n_new < 9; ++n_new) {
      const int32_t n = draft_tokens(position, 6, n_new, 8);
      const auto allowed = [&](int32_t k) {
        bool fills = false;
        for (int32_t p = position + 1; p <= position + k; ++p) fills |= p % 8 == 7;
        return k <= 6 && k + 1 <= n_new && !fills;
      };
      EXPECT_TRUE(allowed(n));
      EXPECT_FALSE(allowed(n + 1)) << position << " " << n_new;
    }
  }
}

TEST(Policy, LeasesEndAtLengthAndCheckpoint) {
  EXPECT_EQ(lease_tokens(10, 20, 50, 0), 20);
  EXPECT_EQ(lease_tokens(10, 20, 5, 0), 5);
  EXPECT_EQ(lease_tokens(10, 20, 50, 16), 6);
  EXPECT_EQ(lease_tokens(16, 20, 50, 16), 16);
  EXPECT_EQ(lease_tokens(10, 20, 0, 0), 1);
}

}  // namespace
}  // namespace arc
