// The table of reference kernels, made from the overloads of run().
#include <utility>

#include "kernels/ref/ref.h"

namespace arc::ref {
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
    return nullptr;  // a collective
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

}  // namespace arc::ref
