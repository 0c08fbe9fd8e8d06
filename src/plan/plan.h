// The plan: a model lowered to a flat list of coarse stages with buffers, weights and cache needs placed. Executors
// walk it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/api/kernel.h"
#include "quant/kv_policy.h"
#include "quant/weight_format.h"
#include "tensor/shape.h"

namespace arc {

// Which part of the model this rank holds: heads, hidden columns, experts and vocabulary rows are dealt out in equal
// ranges.
struct Shard {
  int rank = 0;
  int size = 1;
};

// ---- weights: where every number of the checkpoint goes ----

// Rows begin, begin + stride, ... (count of them).
struct RowRange {
  int32_t begin = 0, count = 0, stride = 1;
  bool operator==(const RowRange&) const = default;
};

// Scales that stand in a tensor of their own: element (r, c) of a matrix is multiplied by scale (r / rows, c / cols).
struct WeightScales {
  enum class Kind : uint8_t {
    none,
    fp8,    // any floating-point scales of 8-bit floats
    mxfp4,  // powers of two (E8M0) of 4-bit floats (E2M1), the earlier one in a byte's low half
  };
  Kind kind = Kind::none;
  std::string tensor;  // name in the checkpoint
  int32_t rows = 1, cols = 1;
  bool operator==(const WeightScales&) const = default;
  explicit operator bool() const { return kind != Kind::none; }
};

// A block of one checkpoint tensor that becomes rows of a weight.
struct WeightPart {
  std::string tensor;                     // name in the checkpoint
  int64_t source_out = 0, source_in = 1;  // the tensor's matrix [out, in], or each of them
  WeightScales scales;
  int32_t stack_index = -1;        // which matrix of a stacked tensor; -1: the tensor is the matrix
  bool stored_transposed = false;  // the checkpoint holds [in, out]
  bool turn = false;               // the selected block is transposed on its way into the weight
  std::vector<RowRange> rows;      // of the matrix [out, in], in the order they are wanted
  int32_t col_begin = 0, cols = 0;
  int64_t index = 0, row = 0;  // first place in the weight: matrix, row
  bool operator==(const WeightPart&) const = default;
};

// One weight as kernels see it, and how it is made. Matrices keep a format; vectors are f32 and constants f64.
struct WeightSlot {
  enum class Role : uint8_t { matrix, vector, constant };
  std::string name;  // "layers.3.attn.qkv"
  Role role = Role::matrix;
  WeightFormat format;
  int64_t count = 1, out = 0, in = 0;
  std::vector<WeightPart> parts;
  std::vector<WeightPart> bias_parts;  // rows of a bias [count, out]; empty: none
  float add = 0.0f;                    // to every element of a vector
  bool negative_exp = false;           // a vector w is stored as -exp(w)
  float scale = 1.0f;                  // of every element of a vector, after `add`
  std::vector<double> values;          // of a constant
};

// ---- buffers ----

using BufferId = int16_t;
using WeightId = int32_t;
constexpr int16_t kNone = -1;

struct Buffer {
  enum class Rows : uint8_t { tokens, head_rows };
  std::string name;
  Rows rows = Rows::tokens;
  DType dtype = DType::f32;
  int32_t cols = 0;
  int16_t writes_per_step = 0;  // versions that one step makes
};

// Columns [col, col + cols) of a buffer. `version` counts the writes of that buffer within a step: a reader of version
// v waits for the stage that wrote it.
struct BufferRef {
  BufferId buffer = kNone;
  int16_t version = 0;
  int32_t col = 0, cols = 0;
};

// ---- stages ----

struct StageCost {
  int64_t weight_bytes = 0;           // that one decode token must read (chosen experts only)
  int64_t cache_bytes_per_token = 0;  // per token of context
  int64_t flops_per_token = 0;        // without the context's share
};

// Operands that may be fetched before the stages in front have run are `weights`. Which rows of an indexed weight, and
// which cache blocks, are known only when their index is.
struct Stage {
  Args args;
  KernelFn launch = nullptr;  // chosen at lowering
  int32_t layer = kNone;
  bool indexed_weight = false;  // weights[0] is read by expert number
  WeightId weights[3] = {kNone, kNone, kNone};
  BufferRef reads[2];
  BufferRef writes[3];
  StageCost cost;
};

// ---- cache ----

enum class CacheKind : uint8_t {
  full,
  sliding,
  latent,
  state,
  open,  // tiles that are not read packed yet, of layers whose policy is tiled: a window of one token, or of tiles more
};

// What layers of one kind and size need of the cache.
struct CacheNeeds {
  CacheKind kind = CacheKind::full;
  int32_t window = 0;
  KvPolicy policy;
  int32_t kv_heads = 0, k_dim = 0, v_dim = 0;
  int64_t state_bytes = 0;      // of one sequence and layer
  std::vector<int32_t> layers;  // model layers, in order

  bool same_needs(const CacheNeeds& other) const;
  // Bytes of one block (all layers), or of one state (all layers).
  int64_t bytes_per_block() const;
  // Of one layer.
  int64_t head_bytes() const;
  int64_t layer_block_bytes() const;
};

// ---- the plan ----

struct Plan {
  std::string arch;
  int32_t vocab = 0, dim = 0, max_positions = 0;
  int32_t rope_switch = 0;  // tokens beyond which a sequence's keys are rotated otherwise; 0: never
  Shard shard;
  std::vector<WeightSlot> weights;
  std::vector<Buffer> buffers;
  std::vector<CacheNeeds> groups;
  std::vector<Stage> stages;
  bool bidirectional = false;       // a sequence is computed in one step, and nothing of it is kept
  BufferId residual = kNone;        // the residual stream x [T, C]
  BufferId hidden = kNone;          // [R, C], after the final norm
  BufferId logits = kNone;          // [R, V]; none: the model makes no tokens
  std::vector<int32_t> layer_ends;  // stages done when layer l is (entry 0: after the embedding)
};

int64_t weight_bytes(const WeightSlot& weight);

// Totals over the stages.
StageCost total_cost(const Plan& plan);
int64_t parameter_count(const Plan& plan);

// Stage by stage, equal layers folded; then weights, cache and bytes per token.
std::string to_string(const Plan& plan);

}  // namespace arc
