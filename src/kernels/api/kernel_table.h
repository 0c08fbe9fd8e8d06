// Makes a backend's table of kernels from its overloads of run().
#pragma once

#include <cstddef>
#include <type_traits>
#include <utility>
#include <variant>

#include "kernels/api/kernel.h"

namespace arc {

// The kernel of operation `A`: `Run{}(a, operands)`, or null where Run does not take an A (collectives, and operations
// that the backend leaves to others).
template <typename Run, typename A>
constexpr KernelFn kernel_of() {
  if constexpr (std::is_invocable_v<Run, const A&, const Operands&>) {
    return [](const Args& args, const Operands& operands) noexcept { Run{}(*std::get_if<A>(&args), operands); };
  } else {
    return nullptr;
  }
}

template <typename Run>
inline constexpr KernelTable kKernelTable = []<size_t... I>(std::index_sequence<I...>) {
  return KernelTable{kernel_of<Run, std::variant_alternative_t<I, Args>>()...};
}(std::make_index_sequence<kOpCount>());

}  // namespace arc
