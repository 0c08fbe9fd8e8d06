// The table of device kernels, made from the overloads of run(); what they can take, and how much scratch memory they
// ask for.
#include <algorithm>

#include "kernels/api/kernel_table.h"
#include "kernels/cuda/common.cuh"
#include "kernels/cuda/cuda_kernels.h"
#include "kernels/cuda/limits.h"
#include "kernels/cuda/scratch.h"

namespace arc::cuda {
namespace {

struct Run {
  template <typename A>
  auto operator()(const A& a, const Operands& o) const noexcept -> decltype(run(a, o)) {
    run(a, o);
  }
};

__global__ void probe_kernel() {}

template <typename A>
std::string_view limit(const A&) {
  return {};
}
std::string_view limit(const AttendArgs& a) {
  return a.k_dim > kMaxHeadDim || a.v_dim > kMaxHeadDim ? "heads of more than 1024 coordinates" : "";
}
std::string_view limit(const NormArgs& a) {
  return a.cols > kMaxNormCols ? "norms of more than 32768 columns" : "";
}
std::string_view limit(const GatedNormArgs& a) {
  return a.cols > kMaxNormCols ? "norms of more than 32768 columns" : "";
}
std::string_view limit(const ConvArgs& a) {
  return a.kernel > kMaxConvKernel ? "a convolution over more than 16 tokens" : "";
}
std::string_view limit(const DeltaArgs& a) {
  return a.key_dim > kMaxKeyDim || a.value_dim > kMaxValueDim ? "keys of more than 256 coordinates" : "";
}
std::string_view limit(const SsmArgs& a) {
  return a.head_dim > kMaxSsmHeadDim ? "state-space heads of more than 1024 coordinates" : "";
}
std::string_view limit(const RouteArgs& a) {
  return a.experts > kMaxExperts || a.groups > kMaxGroups ? "more than 2048 experts or 64 groups" : "";
}

}  // namespace

const KernelTable& kernels() {
  return kKernelTable<Run>;
}

bool run_together(const Args& first, const Operands& a, const Args& second, const Operands& b) noexcept {
  return add_and_norm(first, a, second, b) || product_and_act(first, a, second, b);
}

bool runs_here() {
  cudaFuncAttributes attributes;
  const bool found = cudaFuncGetAttributes(&attributes, probe_kernel) == cudaSuccess;
  cudaGetLastError();  // clears it
  return found;
}

std::string_view why_not(const Args& args) {
  if (kernels()[args.index()] == nullptr) return "this operation";
  return std::visit([](const auto& a) { return limit(a); }, args);
}

std::string_view why_not(const WeightFormat& format) {
  if (format.pack != PackId::plain || format.scale.granularity != AuxFormat::Granularity::absent) {
    return "weights with scales of their own";
  }
  switch (format.code) {
    case BlockCode::none: {
      const DType e = format.element;
      return e == DType::f32 || e == DType::f16 || e == DType::bf16 ? "" : "weights of this type";
    }
    case BlockCode::q8_0:
    case BlockCode::q4_0:
    case BlockCode::q4_k:
    case BlockCode::q5_k:
    case BlockCode::q6_k:
      return {};
    default:
      return "weights in this code";
  }
}

// Parts of attention: where all would not fit, fewer blocks do all of them. Behind them, for attends_prompts(), one
// prompt's tiles of a head as bf16, open ones at most as many as closed ones.
int64_t scratch_bytes(const Args& args, int64_t tokens, int64_t positions) {
  if (std::holds_alternative<LinearArgs>(args) || std::holds_alternative<HeadLinearArgs>(args) ||
      std::holds_alternative<ExpertLinearArgs>(args)) {
    return kPromptBytes;
  }
  const auto* attend = std::get_if<AttendArgs>(&args);
  if (attend == nullptr || tokens == 0) return 0;
  if (attend->v_in_k || attend->k_dim != attend->v_dim || (attend->k_dim != 64 && attend->k_dim != 128)) {
    return kMaxPartsBytes;
  }
  const int64_t tiles = 2 * (positions / kTileTokens + 1);
  return kMaxPartsBytes + std::max(kPromptBytes, tiles * unpacked_tile_bytes(attend->k_dim));
}

}  // namespace arc::cuda
