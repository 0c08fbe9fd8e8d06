// The table of device kernels, made from the overloads of run().
#include <algorithm>
#include <utility>

#include "kernels/cuda/cuda_kernels.h"
#include "kernels/cuda/scratch.h"

namespace arc::cuda {
namespace {

template <typename A>
void call(const Args& args, const Operands& operands) noexcept {
  run(*std::get_if<A>(&args), operands);
}

template <typename A>
constexpr KernelFn kernel_of() {
  if constexpr (requires(const A& a, const Operands& o) { run(a, o); }) {
    return call<A>;
  } else {
    return nullptr;  // a collective, or a fused operation
  }
}

template <size_t... I>
constexpr KernelTable make_table(std::index_sequence<I...>) {
  return {kernel_of<std::variant_alternative_t<I, Args>>()...};
}

constexpr KernelTable kTable = make_table(std::make_index_sequence<kOpCount>());

}  // namespace

const KernelTable& kernels() {
  return kTable;
}

int64_t scratch_bytes(const Args& args, int64_t tokens) {
  // Where parts would not fit, attention walks its context in one block.
  return std::holds_alternative<AttendArgs>(args) && tokens > 0 ? kMaxPartsBytes : 0;
}

}  // namespace arc::cuda
