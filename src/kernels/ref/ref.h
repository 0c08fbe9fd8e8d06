// The scalar reference: what each operation means. Sums are taken in double in one fixed order, so a row's result does
// not depend on the other rows of the step. Executors are compared with these functions; they are written to be read,
// not to be fast.
#pragma once

#include "kernels/api/kernel.h"

namespace arc::ref {

// Wider heads are refused by the model's validation (spec).
constexpr int kMaxRefHeadDim = 1024;

void run(const EmbedArgs& a, const Operands& o) noexcept;
void run(const NormArgs& a, const Operands& o) noexcept;
void run(const GatedNormArgs& a, const Operands& o) noexcept;
void run(const LinearArgs& a, const Operands& o) noexcept;
void run(const HeadLinearArgs& a, const Operands& o) noexcept;
void run(const RopeArgs& a, const Operands& o) noexcept;
void run(const AppendArgs& a, const Operands& o) noexcept;
void run(const AttendArgs& a, const Operands& o) noexcept;
void run(const GateArgs& a, const Operands& o) noexcept;
void run(const AddArgs& a, const Operands& o) noexcept;
void run(const ActArgs& a, const Operands& o) noexcept;
void run(const RouteArgs& a, const Operands& o) noexcept;
void run(const ExpertLinearArgs& a, const Operands& o) noexcept;
void run(const ExpertSumArgs& a, const Operands& o) noexcept;
void run(const ConvArgs& a, const Operands& o) noexcept;
void run(const DeltaArgs& a, const Operands& o) noexcept;
void run(const SsmArgs& a, const Operands& o) noexcept;
void run(const GatherArgs& a, const Operands& o) noexcept;
void run(const SoftcapArgs& a, const Operands& o) noexcept;
void run(const FusedLinearArgs& a, const Operands& o) noexcept;
void run(const FusedAttendArgs& a, const Operands& o) noexcept;

const KernelTable& kernels();

// Shared scalar pieces.
double sigmoid(double x);
double silu(double x);

}  // namespace arc::ref
