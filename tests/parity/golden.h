// A golden: a tiny model whose outputs transformers computed in float64 (tools/make_golden.py). Weights are not stored;
// they come from a counter-based generator, so the test writes the checkpoint itself and loads it like any other.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "base/json.h"
#include "io/checkpoint.h"

namespace arc::test {

struct GoldenTensor {
  std::string name;
  std::vector<int64_t> shape;
  int bits = 0;  // of the odd-integer grid
  int log2_scale = 0;
  double offset = 0.0;
  bool ignored = false;  // in the checkpoint, but not of the model
};

struct Golden {
  std::string name, arch;
  uint64_t seed = 0;
  std::string config_json, config2_json;
  std::vector<GoldenTensor> tensors;
  std::vector<int32_t> tokens;              // [T]
  std::vector<std::vector<double>> hidden;  // [L + 1][T * C], the residual stream after each layer
  std::vector<double> logits;               // [T * V]; without a head [T * C], what the final norm gives
  std::vector<double> f32_error;            // [L + 2]: transformers' own, at hidden.0 .. hidden.L and the logits

  bool has_head() const { return arch.ends_with("ForCausalLM"); }
};

// All goldens under tests/goldens, by name.
std::vector<std::string> golden_names();
// Of those that make text.
std::vector<std::string> generating_names();
Golden read_golden(const std::string& name);

// Values of one tensor as the generator defines them; exact in f32, f16 and bf16.
std::vector<float> generate(const GoldenTensor& tensor, uint64_t seed);

// A change to make the golden notice: every value of `tensor` becomes value * scale + add.
struct Mutation {
  std::string tensor;
  float scale = 1.0f, add = 0.0f;
  bool reverse = false;  // the order of the values
};

// Writes the golden's checkpoint to `path` with elements of `dtype`.
void write_checkpoint(const Golden& golden, DType dtype, const std::filesystem::path& path,
                      const Mutation& mutation = {});

// A folder under the system's temporary one that disappears with the object.
class TemporaryFolder {
 public:
  explicit TemporaryFolder(const std::string& name);
  ~TemporaryFolder();
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace arc::test
