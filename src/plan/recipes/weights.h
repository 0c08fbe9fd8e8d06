// Weights that more than one recipe asks for.
#pragma once

#include "plan/builder.h"

namespace arc {

// [q | k | v (| gate)] of this rank's heads.
std::vector<Piece> qkv_pieces(const PlanBuilder& b, const AttentionSpec& spec);
MatrixOptions qkv_options(const PlanBuilder& b, const AttentionSpec& spec);
WeightId attention_out_matrix(PlanBuilder& b, const AttentionSpec& spec);
// [gate | up] of this rank's hidden columns, or up alone; `slots` is "mlp" or "shared".
std::vector<Piece> gate_up_pieces(const PlanBuilder& b, const MlpSpec& spec, std::string_view slots);
MatrixOptions gate_up_options(const PlanBuilder& b, const MlpSpec& spec);
WeightId down_matrix(PlanBuilder& b, const MlpSpec& spec, std::string_view slots);

// What both attention recipes tell the attend operation; makes the cache's place.
AttendArgs attend_args(PlanBuilder& b, const AttentionSpec& spec);
ActArgs act_args(const MlpSpec& spec, int32_t hidden);

}  // namespace arc
