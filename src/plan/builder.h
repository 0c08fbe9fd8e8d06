// What recipes write with: named buffers, weights made of checkpoint rows, stages in order.
#pragma once

#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "plan/lower.h"

namespace arc {

// Rows of one slot's matrix, to be appended to a weight.
struct Piece {
  std::string slot;
  int64_t slot_rows = 0;       // rows the whole slot has, to check the checkpoint
  std::vector<RowRange> rows;  // wanted; empty: all
  int expert = -1;             // or another number of a matrix in a stacked slot
  int64_t stack = 0;           // matrices of a stacked slot; 0: one per expert
};

struct MatrixOptions {
  int64_t slot_cols = 0;      // columns the slots have
  RowRange cols = {0, 0, 1};  // wanted; count 0: all
  bool bias = false;          // the slots have biases
  bool bias_here = true;      // this rank adds them
};

class PlanBuilder {
 public:
  PlanBuilder(const ModelSpec& spec, const SlotResolver& slots, const LowerOptions& options);

  const ModelSpec& spec() const { return spec_; }
  const Shard& shard() const { return options_.shard; }
  bool fused() const { return options_.fused; }
  // The equal part of `total` that this rank holds; throws when the ranks do not divide it.
  RowRange part(int32_t total, std::string_view what) const;
  bool first_rank() const { return options_.shard.rank == 0; }

  void begin_layer(int layer) { layer_ = layer; }
  int layer() const { return layer_; }

  // The buffer of this name, made on first use. `cols` is part of its identity.
  BufferRef buffer(std::string_view name, int32_t cols, DType dtype = DType::f32,
                   Buffer::Rows rows = Buffer::Rows::tokens);
  static BufferRef slice(BufferRef whole, int32_t col, int32_t cols);

  // A matrix of the pieces' rows, one below the other.
  WeightId matrix(std::string_view name, const std::vector<Piece>& pieces, const MatrixOptions& options);
  // `count` matrices; matrix i has the rows of pieces(i).
  WeightId matrices(std::string_view name, int64_t count, const std::function<std::vector<Piece>(int64_t)>& pieces,
                    const MatrixOptions& options);
  // As matrices(), each block transposed on its way in: [cols, rows].
  WeightId turned_matrices(std::string_view name, int64_t count,
                           const std::function<std::vector<Piece>(int64_t)>& pieces, const MatrixOptions& options);
  // f32 values of a one-dimensional slot, `add` added to each.
  WeightId vector(std::string_view slot, int64_t slot_size, std::vector<RowRange> rows = {}, float add = 0.0f);
  WeightId constant(std::string_view name, std::vector<double> values);

  // Whether the pieces make one matrix that kernels read as it is stored. Blocks of different codes do not.
  bool one_format(std::span<const Piece> pieces, const MatrixOptions& options) const;
  // y = W x for the matrix of the pieces: one stage, or one for each run of pieces that have one format.
  void linear(std::string_view name, const std::vector<Piece>& pieces, const MatrixOptions& options, BufferRef x,
              BufferRef y);

  // How the checkpoint stores a slot; empty when it has none of this name.
  std::optional<TensorLayout> layout(std::string_view slot, int expert = -1) const;

  void emit(const Args& args, std::initializer_list<WeightId> weights, std::initializer_list<BufferRef> reads,
            std::initializer_list<BufferRef> writes);
  // Adds `extra` to the cost of the last stage.
  void cache_cost(int64_t bytes_per_context_token);

  // y becomes the sum over all ranks; nothing on one rank.
  void all_reduce(BufferRef y);

  // A norm of `cols`-wide runs with the weights of `slot`; nothing when the spec has none.
  void norm(const NormSpec& norm, std::string_view slot, int32_t cols, BufferRef x, BufferRef y,
            std::vector<RowRange> rows = {});
  // Rotates `heads` heads that lie `stride` apart; x and y are the rotated columns of head 0.
  void rope(const RopeSpec& rope, int32_t heads, BufferRef x, int32_t in_stride, BufferRef y, int32_t out_stride,
            bool query = false);

  // The group of a layer with these needs, and the layer's place in it; of a tiled policy also those of its open tiles.
  struct CachePlace {
    int32_t group = 0, layer = 0;
    int32_t open_group = kNone, open_layer = 0;
  };
  CachePlace cache(CacheNeeds needs);

  void mark_layer_end() { plan_.layer_ends.push_back(static_cast<int32_t>(plan_.stages.size())); }
  Plan& plan() { return plan_; }

 private:
  WeightId add_matrices(std::string_view name, int64_t count, const std::function<std::vector<Piece>(int64_t)>& pieces,
                        const MatrixOptions& options, bool turn);
  WeightFormat format_of(const Piece& piece, const MatrixOptions& options, bool turn) const;
  int64_t add_piece(WeightSlot& weight, const Piece& piece, const MatrixOptions& options, int64_t index, int64_t row,
                    bool turn);
  void add_bias(WeightSlot& weight, const Piece& piece, const SlotTensor& tensor, int64_t index, int64_t row,
                bool here);
  std::string weight_name(std::string_view name) const;
  CachePlace join_group(const CacheNeeds& needs);
  StageCost cost_of(const Stage& stage) const;

  const ModelSpec& spec_;
  const SlotResolver& slots_;
  const LowerOptions& options_;
  Plan plan_;
  int layer_ = -1;
};

// Rows of one head whose first `rope.dims` coordinates are rotated, with the checkpoint's pairing undone.
std::vector<RowRange> head_rows(int32_t begin, int32_t head_dim, const RopeSpec& rope);

// A whole layer in five stages, where it has no more than plain attention and a gated MLP.
bool fused_feasible(const PlanBuilder& b, const LayerSpec& layer);
void fused_recipe(PlanBuilder& b, const LayerSpec& layer, BufferRef x);

// Block kinds, one recipe each: they read `x` [T, C] (normalised) and write `y` [T, C] (this rank's share of the sum).
void attention_recipe(PlanBuilder& b, const AttentionSpec& spec, BufferRef x, BufferRef y);
void mla_recipe(PlanBuilder& b, const MlaSpec& spec, BufferRef x, BufferRef y);
void delta_net_recipe(PlanBuilder& b, const DeltaNetSpec& spec, BufferRef x, BufferRef y);
void mamba2_recipe(PlanBuilder& b, const Mamba2Spec& spec, BufferRef x, BufferRef y);
void mlp_recipe(PlanBuilder& b, const MlpSpec& spec, std::string_view slots, BufferRef x, BufferRef y);
void moe_recipe(PlanBuilder& b, const MoeSpec& spec, BufferRef x, BufferRef y);

}  // namespace arc
