// The device kernels: one per operation, and what they can take. Host code may include this header.
#pragma once

#include <string_view>

#include "kernels/api/kernel.h"

namespace arc::cuda {

// One launch function per operation (kernels/api/ops.h), on Operands::stream. Null for collectives.
const KernelTable& kernels();

// One launch for two stages in a row, where there is a kernel for both: the same bits. False: nothing was done. What a
// product hands to its activation is not kept.
bool run_together(const Args& first, const Operands& a, const Args& second, const Operands& b) noexcept;
bool add_and_norm(const Args& first, const Operands& a, const Args& second, const Operands& b) noexcept;
bool product_and_act(const Args& first, const Operands& a, const Args& second, const Operands& b) noexcept;

// Whether `first`, whose result only `second` reads, can hand it over as Operands::rounded_out and rounded_in say.
bool passes_rounded(const Args& first, const Operands& a, const Args& second, const Operands& b);

// Whether this build has code for the current device.
bool runs_here();

// What the kernels lack for an operation, or for a weight of a product; empty: nothing.
std::string_view why_not(const Args& args);
std::string_view why_not(const WeightFormat& format);

// The launch functions, for the table. They never wait.
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

}  // namespace arc::cuda
