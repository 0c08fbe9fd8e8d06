// The CPU executor on every golden and every instruction set of this machine: against transformers, stage by stage
// against the reference under bounds derived from each stage's inputs, and the promises of same bits.
#include <cstdio>
#include <map>

#include "gtest/gtest.h"

#include "io/safetensors.h"
#include "parity/deviation.h"
#include "parity/stage_parity.h"

namespace arc::test {
namespace {

struct Case {
  std::string golden;
  cpu::Isa isa;
};

std::vector<Case> cases() {
  std::vector<Case> out;
  for (const std::string& name : golden_names()) {
    for (const cpu::Isa isa : {cpu::Isa::scalar, cpu::Isa::avx2, cpu::Isa::avx512, cpu::Isa::avx512_bf16}) {
      if (cpu::isa_supported(isa)) out.push_back({name, isa});
    }
  }
  return out;
}

class CpuTest : public testing::TestWithParam<Case> {
 protected:
  CpuTest()
      : golden_(read_golden(GetParam().golden)),
        folder_("arc_cpu_" + GetParam().golden + std::string(cpu::isa_name(GetParam().isa))) {}

  Checkpoint checkpoint(DType dtype) {
    const auto path = folder_.path() / "model.safetensors";
    write_checkpoint(golden_, dtype, path);
    return open_safetensors(path);
  }
  TinyOptions options(int threads = 1, DType cache = DType::f32) const {
    return {.isa = GetParam().isa, .threads = threads, .cache = cache};
  }
  void print(const char* what, double share) const {
    std::printf("  %-12s %-12s %-24s worst share of the bound %.3f\n", golden_.name.c_str(),
                std::string(cpu::isa_name(GetParam().isa)).c_str(), what, share);
  }

  Golden golden_;
  TemporaryFolder folder_;
};

TEST_P(CpuTest, EqualsTransformers) {
  TinyModel model(golden_.config_json, checkpoint(DType::f32), options());
  const double share = worst_share(deviations(golden_, model.run(golden_.tokens)));
  print("transformers", share);
  EXPECT_LE(share, 1.0);
}

TEST_P(CpuTest, EveryStageStaysWithinItsBound) {
  struct Variant {
    DType weights, cache;
    int chunk, threads;
  };
  std::map<std::string, double> shares;
  for (const Variant& v : {Variant{DType::f32, DType::f32, 0, 2}, Variant{DType::f32, DType::f16, 1, 1},
                           Variant{DType::bf16, DType::bf16, 7, 2}, Variant{DType::f16, DType::f32, 0, 3}}) {
    const bool rounds = GetParam().isa == cpu::Isa::avx512_bf16 && v.weights == DType::bf16;
    const ParityReport report =
        stage_parity(golden_, checkpoint(v.weights), options(v.threads, v.cache), v.chunk, rounds ? 0x1p-8 : 0.0);
    EXPECT_EQ(report.first_failure, "") << dtype_name(v.weights) << " weights, " << dtype_name(v.cache) << " cache";
    for (const auto& [op, share] : report.shares) shares[op] = std::max(shares[op], share);
  }
  for (const auto& [op, share] : shares) print(op.c_str(), share);
}

TEST_P(CpuTest, ChunksAndThreadsGiveTheSameBits) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const Checkpoint file = checkpoint(dtype);
    TinyModel one(golden_.config_json, file, options(1, dtype)), three(golden_.config_json, file, options(3, dtype));
    const TinyModel::Outputs whole = one.run(golden_.tokens);
    for (int chunk : {0, 1, 2, 3, 7, 16}) {
      if (chunk > 0 && one.plan().bidirectional) continue;
      EXPECT_EQ(one.run(golden_.tokens, chunk).logits, whole.logits) << "chunk " << chunk;
      EXPECT_EQ(three.run(golden_.tokens, chunk).logits, whole.logits) << "three threads, chunk " << chunk;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, CpuTest, testing::ValuesIn(cases()), [](const auto& info) {
  return info.param.golden + "_" + std::string(cpu::isa_name(info.param.isa));
});

}  // namespace
}  // namespace arc::test
