#include "kernels/cpu/isa.h"

#include <cstdlib>
#include <string>
#include <utility>

#include "base/error.h"
#include "kernels/api/kernel_table.h"

// The kernels of each instruction set: overloads of run() in a namespace of its name.
namespace arc::cpu::scalar {
#include "kernels/cpu/generic/run.inl"
}
#ifdef ARC_X86
namespace arc::cpu::avx2 {
#include "kernels/cpu/generic/run.inl"
}
namespace arc::cpu::avx512 {
#include "kernels/cpu/generic/run.inl"
}
namespace arc::cpu::avx512_bf16 {
#include "kernels/cpu/generic/run.inl"
}
#endif

namespace arc::cpu {
namespace {

constexpr std::string_view kNames[] = {"scalar", "avx2", "avx512", "avx512_bf16"};

template <Isa isa>
struct Run {
  template <typename A>
  auto operator()(const A& a, const Operands& o) const noexcept -> decltype(scalar::run(a, o)) {
    if constexpr (isa == Isa::scalar) scalar::run(a, o);
#ifdef ARC_X86
    if constexpr (isa == Isa::avx2) avx2::run(a, o);
    if constexpr (isa == Isa::avx512) avx512::run(a, o);
    if constexpr (isa == Isa::avx512_bf16) avx512_bf16::run(a, o);
#endif
  }
};

}  // namespace

std::string_view isa_name(Isa isa) {
  return kNames[static_cast<size_t>(isa)];
}

bool isa_supported(Isa isa) {
#ifdef ARC_X86
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                      __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vnni");
  switch (isa) {
    case Isa::scalar:
      return true;
    case Isa::avx2:
      return avx2;
    case Isa::avx512:
      return avx512;
    case Isa::avx512_bf16:
      return avx512 && __builtin_cpu_supports("avx512bf16");
  }
#endif
  return isa == Isa::scalar;
}

Isa choose_isa() {
  const char* wanted = std::getenv("ARC_CPU_ISA");
  Isa best = Isa::scalar;
  std::string usable;
  for (const Isa isa : {Isa::scalar, Isa::avx2, Isa::avx512, Isa::avx512_bf16}) {
    if (!isa_supported(isa)) continue;
    best = isa;
    if (wanted != nullptr && isa_name(isa) == wanted) return isa;
    usable += (usable.empty() ? "" : ", ") + std::string(isa_name(isa));
  }
  if (wanted == nullptr || *wanted == '\0') return best;
  throw Error(ErrorCode::invalid_argument, "ARC_CPU_ISA=" + std::string(wanted) +
                                               " is not an instruction set of this machine, which has: " + usable);
}

const KernelTable& kernels(Isa isa) {
#ifdef ARC_X86
  if (isa == Isa::avx2) return kKernelTable<Run<Isa::avx2>>;
  if (isa == Isa::avx512) return kKernelTable<Run<Isa::avx512>>;
  if (isa == Isa::avx512_bf16) return kKernelTable<Run<Isa::avx512_bf16>>;
#endif
  return kKernelTable<Run<Isa::scalar>>;
}

}  // namespace arc::cpu
