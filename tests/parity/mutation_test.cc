// Would a golden notice a mistake? Each kind of parameter and each config key is changed in turn: some output must then
// leave its bound, or the model must be refused. A change that nothing notices is a weight or key that nothing tests.
#include "parity/mutation.h"

#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "gtest/gtest.h"

#include "base/error.h"
#include "io/safetensors.h"
#include "parity/deviation.h"
#include "parity/tiny_model.h"

namespace arc::test {
namespace {

class MutationTest : public testing::TestWithParam<std::string> {
 protected:
  MutationTest() : golden_(read_golden(GetParam())), folder_("arc_mutation_" + GetParam()) {}

  Checkpoint checkpoint(const Mutation& mutation = {}) {
    const auto path = folder_.path() / "model.safetensors";
    write_checkpoint(golden_, DType::f32, path, mutation);
    return open_safetensors(path);
  }

  TinyModel::Outputs run(const std::string& config, const Checkpoint& file) {
    return TinyModel(config, file).run(golden_.tokens);
  }

  bool notices(const TinyModel::Outputs& got) { return worst_share(deviations(golden_, got)) > 1.0; }

  // Whether a model of this config is refused, or visibly another.
  bool notices_config(const std::string& config, const Checkpoint& file) {
    try {
      return notices(run(config, file));
    } catch (const Error&) {
      return true;
    }
  }

  Golden golden_;
  TemporaryFolder folder_;
};

TEST_P(MutationTest, EveryKindOfParameterIsNoticed) {
  const bool all = std::getenv("ARC_FULL") != nullptr;
  const std::vector<std::string> names = parameters(golden_, all);
  for (const std::string& name : names) {
    // Where the scale is divided out again, only the order of the values counts.
    const bool noticed = notices(run(golden_.config_json, checkpoint({.tensor = name, .scale = 1.0f + 1.0f / 64}))) ||
                         notices(run(golden_.config_json, checkpoint({.tensor = name, .reverse = true})));
    EXPECT_TRUE(noticed) << name;
  }
  std::printf("  %-12s %zu %s perturbed\n", golden_.name.c_str(), names.size(), all ? "tensors" : "kinds of parameter");
}

TEST_P(MutationTest, EveryConfigKeyIsNoticed) {
  const Checkpoint file = checkpoint();
  for (const Dialect& dialect : dialects(golden_)) {
    int n_keys = 0, n_changes = 0;
    for (const ConfigKey& key : config_keys(golden_, dialect)) {
      if (key.notice == ConfigKey::Notice::none) continue;
      ++n_keys;
      int n_noticed = 0;
      for (const ConfigKey::Change& change : key.changes) {
        ++n_changes;
        const bool noticed = notices_config(change.config, file);
        n_noticed += noticed ? 1 : 0;
        EXPECT_TRUE(noticed || key.notice == ConfigKey::Notice::some)
            << dialect.file << ": " << key.name << " = " << change.value;
      }
      EXPECT_GT(n_noticed, 0) << dialect.file << ": " << key.name;
    }
    std::printf("  %-12s %-12s %d keys perturbed, in %d ways\n", golden_.name.c_str(), dialect.file.data(), n_keys,
                n_changes);
  }
}

// What the list of exemptions says is true: not one bit changes.
TEST_P(MutationTest, KeysWithoutMathematicsChangeNothing) {
  const Checkpoint file = checkpoint();
  const TinyModel::Outputs expected = run(golden_.config_json, file);
  for (const Dialect& dialect : dialects(golden_)) {
    for (const ConfigKey& key : config_keys(golden_, dialect)) {
      if (key.notice != ConfigKey::Notice::none) continue;
      for (const ConfigKey::Change& change : key.changes) {
        const bool same = run(change.config, file).logits == expected.logits;
        EXPECT_TRUE(same) << dialect.file << ": " << key.name << " = " << change.value;
      }
    }
  }
}

TEST_P(MutationTest, UnknownKeysAreRefusedByName) {
  const Checkpoint file = checkpoint();
  for (const Dialect& dialect : dialects(golden_)) {
    for (const std::string& config : with_unknown_key(dialect, "warp_factor")) {
      try {
        TinyModel(config, file);
        ADD_FAILURE() << "taken: " << config;
      } catch (const Error& error) {
        EXPECT_NE(std::string_view(error.what()).find("warp_factor"), std::string_view::npos) << error.what();
      }
    }
  }
}

TEST(MutationListTest, EveryExemptionSpeaksOfSomeKey) {
  EXPECT_EQ(stale_exemptions(), std::vector<std::string>());
}

INSTANTIATE_TEST_SUITE_P(All, MutationTest, testing::ValuesIn(golden_names()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace arc::test
