// The table of reference kernels, made from the overloads of run().
#include "kernels/api/kernel_table.h"
#include "kernels/ref/ref.h"

namespace arc::ref {
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

}  // namespace arc::ref
