// The table of device kernels, made from the overloads of run(); and how much scratch memory they ask for.
#include "kernels/api/kernel_table.h"
#include "kernels/cuda/cuda_kernels.h"
#include "kernels/cuda/scratch.h"

namespace arc::cuda {
namespace {

struct Run {
  template <typename A>
  auto operator()(const A& a, const Operands& o) const noexcept -> decltype(run(a, o)) {
    run(a, o);
  }
};

}  // namespace

const KernelTable& kernels() {
  return kKernelTable<Run>;
}

int64_t scratch_bytes(const Args& args, int64_t tokens) {
  // Where parts would not fit, attention walks its context in one block.
  return std::holds_alternative<AttendArgs>(args) && tokens > 0 ? kMaxPartsBytes : 0;
}

}  // namespace arc::cuda
