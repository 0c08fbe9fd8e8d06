// The tape: one decode step of one sequence as an array of plain stage records that a persistent kernel walks. Plain
// C++: lowering and the kernel share it. Addresses are device addresses, fixed before the first step.
#pragma once

#include <cstdint>

#include "quant/kv_policy.h"

namespace arc::tape {

// What a stage means. Dimension letters: C model dim, H query heads, K kv heads, D head dim, F ffn dim, V vocabulary.
enum class Op : uint8_t {
  embed,    // token id -> row of the table; opens the residual stream
  product,  // y = epilogue(scale * (W x)), scale = 1 / rms(x) when the stage reads squares, else 1
  attend,   // per-head RMSNorm and RoPE of q and k, append of k and v, attention over the paged cache, merge of the
            // splits
};

// What happens to the finished sums of a product.
enum class Epilogue : uint8_t {
  store,         // y = v + bias
  add_residual,  // r += v; y = r * next_norm; squares = sums of r^2, one per SM
  silu_mul,      // a group holds 4 rows of gate, then the same rows of up: y = silu(gate) * up
  scores,        // y = v in f32, tagged: one for each expert
  logits,        // y = v in f32, plain
};

// A buffer in one of its versions. A buffer that other SMs read travels as words that carry their own ready flag:
//   tagged16: uint32_t, bf16 bits << 16 | tag & 0xffff        tagged32: uint64_t, tag << 32 | f32 bits
// with tag = step * per_step + version. A reader polls the words it needs; nothing else announces them.
struct BufferRef {
  uint64_t address = 0;   // 0: absent
  uint32_t version = 0;   // which write of a step, from 1
  uint32_t per_step = 0;  // writes of this buffer per step; 0: plain words, which only their writer reads
};

// Weights, norms, frequencies: constant, so they may be read at any time.
struct StaticRef {
  uint64_t address = 0;
};

// One layer of the cache. Constant except for the row that the stage itself appends, and the tile that it may pack;
// which blocks are read comes from the step's block tables.
struct IndexedRef {
  uint64_t address = 0;      // block 0 of this layer
  uint32_t first_row = 0;    // of rows: the same as a row of the cache's tensor map
  uint32_t block_bytes = 0;  // from one block to the next
};

struct ProductArgs {
  Epilogue epilogue = Epilogue::store;
  uint32_t n_out = 0, n_in = 0;  // rows and columns of W; n_in is a multiple of 8
  uint32_t columns = 0;          // of a tile: kTileColumns or kNarrowColumns
  uint32_t n_groups = 0;         // groups of 8 rows
  uint32_t deal = 0;             // which deal says what groups an SM takes
  uint32_t pass_groups = 0;      // groups that an SM finishes and publishes together
  float eps = 0;                 // of the norm that opens the stage
};

// Of a product with a stack of experts: the step's `top_k`, those with the best scores, as if they were one matrix.
// Rows of gate and up stand one expert behind the other, and so do columns of down. A chosen expert's weight is part of
// h.
struct ExpertArgs {
  uint32_t top_k = 0;  // 0: a plain matrix
  uint32_t n_experts = 0;
  uint32_t hidden = 0;      // rows of gate, columns of down of one expert
  bool over_chosen = true;  // weights are a softmax over the chosen experts, else over all
  float scale = 1;          // of the weights

  bool operator==(const ExpertArgs&) const = default;
};

// How the cache of an attend stage is stored: rows of bf16 or of int8 (a scale for 32 coordinates), read as they were
// written; or full tiles packed and turned (quant/turbo.h), but for the newest, which are rows of int8.
enum class CacheForm : uint8_t { bf16, int8, packed };

struct AttendArgs {
  CacheForm form = CacheForm::bf16;
  uint8_t codec = 0;                     // of LaunchArgs, of packed tiles
  uint8_t group = 0, packed_group = 0;   // whose tables name the blocks of rows, of packed tiles
  uint32_t n_recent = 0;                 // full tiles before the own one that are read as rows
  uint32_t n_heads = 0, n_kv_heads = 0;  // H / K is 1 to 8; head dim is 128
  uint32_t n_splits = 0;                 // SMs per kv head, at most kMaxSplits
  float eps = 0;                         // of the q and k norms
  float scale_log2 = 0;                  // softmax scale * log2(e)
  float rope_factor = 1;                 // of cos and sin
};

struct StageCost {
  uint64_t weight_bytes = 0;     // weights and tables that a step must read
  uint32_t bytes_per_token = 0;  // of cache, per token of context
};

// One stage. Meaning of the references, by op (absent ones have address 0):
//            weights                                   reads                   writes
//   embed    table bf16 [V, C], next_norm              -                       x, squares, residual
//   product  tensor map of W [n_out, n_in], next_norm, x, squares, residual    y, squares, residual
//            bias                                      or scores of experts
//   attend   q_norm, k_norm, frequencies f64 [D / 2]   qkv                     attended, parts
struct alignas(16) TapeStage {
  Op op = Op::embed;
  uint16_t layer = 0;  // for messages
  ProductArgs product{};
  ExpertArgs experts{};
  AttendArgs attend{};
  StaticRef weights[3]{};
  IndexedRef cache{}, packed{};  // rows, and packed tiles
  BufferRef reads[3]{};
  BufferRef writes[3]{};
  StageCost cost{};
};
static_assert(sizeof(TapeStage) <= 256 && sizeof(TapeStage) % 16 == 0);

// Indices into weights, reads and writes.
enum : int { kMatrix = 0, kNextNorm = 1, kBias = 2, kQNorm = 0, kKNorm = 1, kRope = 2 };
enum : int { kVector = 0, kSquares = 1, kParts = 1, kResidual = 2, kScores = 2 };

// How the row groups of a product are dealt to the SMs. SM s takes group i * n_sms + s in round i < n_rounds
// (neighbours read neighbouring addresses at the same time), then n_tail groups from first_tail on.
struct DealShare {
  uint32_t n_rounds = 0, n_tail = 0, first_tail = 0;
};

// Matrices lie row by row, as every executor reads them. A tile is 8 rows by 1024 columns of bf16: one box of the
// matrix's tensor map, whose elements are kMapColumns columns wide. What lies outside of the matrix is zero in a tile.
constexpr uint32_t kTileRows = 8, kTileColumns = 1024, kTileBytes = kTileRows * kTileColumns * 2;
// Where an SM has few tiles of a matrix they are half as wide, so that more warps share them.
constexpr uint32_t kNarrowColumns = kTileColumns / 2, kFewTiles = 12;
constexpr uint32_t kMapColumns = 4, kMapBytes = 128;

// Cache granule: 32 tokens of one kv head, one tile: keys, then values, each in two halves of 64 coordinates: boxes of
// the cache's tensor map [rows, 128], whose 16-byte chunks are permuted by xor with the row mod 8 as they are loaded.
constexpr uint32_t kHeadDim = 128, kGranuleTokens = 32, kRowBytes = kHeadDim * 2, kHalfColumns = 64;
constexpr uint32_t kHalfBytes = kGranuleTokens * kHalfColumns * 2, kSideBytes = 2 * kHalfBytes;
static_assert(2 * kSideBytes == kTileBytes);

// A block of the cache: [kv head][keys | values][token][128].
constexpr uint32_t kBlockTokens = kTileTokens, kBlockGranules = kBlockTokens / kGranuleTokens;
constexpr uint32_t kHeadBytes = 2 * kBlockTokens * kRowBytes;

// The same with rows of int8; behind them [keys | values][token][4] scales in f16. A granule's tile is its keys, values
// (two boxes, permuted likewise), and the scales of both.
constexpr uint32_t kInt8RowBytes = kHeadDim, kInt8SideBytes = kBlockTokens * kInt8RowBytes;
constexpr uint32_t kInt8GranuleBytes = kGranuleTokens * kInt8RowBytes;
constexpr uint32_t kRowScaleBytes = kHeadDim / 32 * 2, kSideScaleBytes = kBlockTokens * kRowScaleBytes;
constexpr uint32_t kGranuleScaleBytes = kGranuleTokens * kRowScaleBytes;
constexpr uint32_t kInt8HeadBytes = 2 * (kInt8SideBytes + kSideScaleBytes);

constexpr uint32_t kMaxSplits = 32;

// A split's part of one head: 128 normalised outputs, then log2 of the sum of its weights; tagged32 words.
constexpr uint32_t kPartWords = 132;

// Row groups per pass of a product that adds to the residual, at most.
constexpr uint32_t kResidualGroups = 8;

// f32 sums that an SM holds per pass: 8 * pass_groups * column slices must fit.
constexpr uint32_t kRegionFloats = 960;

constexpr uint32_t kMaxSms = 160;

constexpr uint32_t kMaxExperts = 256, kMaxChosen = 16;
constexpr uint32_t kMaxCodecs = 3;  // forms of packed tiles in one model

// A step has at least as many stages as a block holds records of.
constexpr uint32_t kMinStages = 8;

}  // namespace arc::tape
