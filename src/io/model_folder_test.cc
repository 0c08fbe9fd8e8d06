// Tests of finding a model: folders, the hub cache, and what is said when there is none.
#include "io/model_folder.h"

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <unistd.h>
#include <vector>

#include "fmt/format.h"
#include "gtest/gtest.h"

#include "base/error.h"
#include "io/safetensors.h"

namespace arc {
namespace {

namespace fs = std::filesystem;

class ModelFolders : public testing::Test {
 protected:
  ModelFolders() {
    fs::create_directories(root_);
    ::unsetenv("HF_HUB_CACHE");
    ::setenv("HF_HOME", (root_ / "hf").c_str(), 1);
  }
  ~ModelFolders() override { fs::remove_all(root_); }

  void write(const fs::path& path, const std::string& text) const {
    fs::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }
  // The message of the Error that opening gives, with the code it must have.
  std::string refusal(const std::string& model, ErrorCode code) const {
    try {
      open_weights(open_model_folder(model));
      return "";
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), code) << e.what();
      return e.what();
    }
  }

  fs::path root_ = fs::temp_directory_path() / fmt::format("arc_model_folder_{}", ::getpid());
};

TEST_F(ModelFolders, OpensAFolder) {
  write("m/config.json", "{}");
  EXPECT_EQ(open_model_folder((root_ / "m").string()).generation_config_json, "");
  write("m/generation_config.json", "{\"top_k\":3}");
  write_safetensors(root_ / "m" / "model.safetensors",
                    std::vector<NamedTensor>{{"w", Tensor::zeros({2, 2}, DType::f32)}});
  const ModelFolder folder = open_model_folder((root_ / "m").string());
  EXPECT_EQ(folder.config_json, "{}");
  EXPECT_EQ(folder.generation_config_json, "{\"top_k\":3}");
  EXPECT_EQ(open_weights(folder).tensors().size(), 1u);
}

TEST_F(ModelFolders, FindsAHubIdInTheCache) {
  write("hf/hub/models--acme--tiny/refs/main", "abc123\n");
  write("hf/hub/models--acme--tiny/snapshots/abc123/config.json", "{\"from\":\"home\"}");
  EXPECT_EQ(open_model_folder("acme/tiny").config_json, "{\"from\":\"home\"}");
  write("cache/models--acme--tiny/refs/main", "r2");
  write("cache/models--acme--tiny/snapshots/r2/config.json", "{\"from\":\"cache\"}");
  ::setenv("HF_HUB_CACHE", (root_ / "cache").c_str(), 1);
  EXPECT_EQ(open_model_folder("acme/tiny").config_json, "{\"from\":\"cache\"}");
  write("cache/models--acme--tiny/refs/main", "../../elsewhere");
  EXPECT_NE(refusal("acme/tiny", ErrorCode::not_found).find("no snapshot"), std::string::npos);
}

TEST_F(ModelFolders, SaysWhatToDo) {
  const auto has = [](const std::string& message, const std::string& part) {
    EXPECT_NE(message.find(part), std::string::npos) << message;
  };
  has(refusal("acme/other", ErrorCode::not_found), "hf download acme/other");
  has(refusal("/no/such/folder", ErrorCode::not_found), "/no/such/folder");
  has(refusal(std::string(5000, 'x'), ErrorCode::not_found), "hf download");
  has(refusal("", ErrorCode::not_found), "built-in model");
  has(refusal("some/model.gguf", ErrorCode::not_found), "no file some/model.gguf");
  fs::create_directories(root_ / "bare");
  has(refusal((root_ / "bare").string(), ErrorCode::not_found), "no config.json");
  write("bare/config.json", "{}");
  has(refusal((root_ / "bare").string(), ErrorCode::not_found), "neither model.safetensors nor");
  has(refusal((root_ / "bare" / "config.json").string(), ErrorCode::invalid_argument), "is a file");
}

// A real trained model, where the shared data is at hand.
TEST(SharedModel, OpensAndIsFinite) {
  const char* shared = std::getenv("ARC_SHARED");
  const fs::path folder =
      fs::path(shared != nullptr ? shared : ARC_SOURCE_DIR "/../shared") / "data/models/tinystories-656k";
  if (!fs::exists(folder)) GTEST_SKIP() << "no " << folder << "; set ARC_SHARED";
  const Checkpoint checkpoint = open_weights(open_model_folder(folder.string()));
  ASSERT_NE(checkpoint.find("lm_head.weight"), nullptr);
  for (const TensorEntry& entry : checkpoint.tensors()) {
    const Tensor tensor = checkpoint.load(entry.name);
    std::vector<float> values(static_cast<size_t>(tensor.numel()));
    to_float(tensor.dtype(), tensor.data(), values.data(), values.size());
    for (float v : values) ASSERT_TRUE(v > -1e3f && v < 1e3f) << entry.name;
  }
}

}  // namespace
}  // namespace arc
