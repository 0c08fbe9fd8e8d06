// The tape: a decode plan lowered to an array of plain stage records that a persistent kernel walks, once per token.
// Plain C++: the builder, the kernel and the checker share it. Addresses are device addresses, fixed before the launch.
#pragma once

#include <cstdint>

namespace arc::tape {

// What a stage means. Dimension letters: C model dim, H query heads, K kv heads, D head dim, F ffn dim, V vocabulary.
enum class Op : uint8_t {
  embed,    // token id -> row of the table; opens the residual stream
  product,  // y = epilogue(scale * (W x)), scale = 1 / rms(x) when the stage reads squares, else 1
  attend,   // per-head RMSNorm and RoPE of q and k, append of k and v, attention over the paged cache, merge of the
            // splits
  argmax,   // best candidate of all SMs -> token id; closes the step
};

// What happens to the finished sums of a product.
enum class Epilogue : uint8_t {
  store,         // y = v
  add_residual,  // r += v; y = r * next_norm; squares = sums of r^2, one per SM
  silu_mul,      // rows 2i and 2i+1 are gate and up of unit i: y[i] = silu(gate) * up
  keep_best,     // best row of each SM -> candidates; y, if there is one, receives all rows in f32
};

// A buffer in one of its versions. A buffer that other SMs read travels as words that carry their own ready flag:
//   tagged16: uint32_t, bf16 bits << 16 | tag & 0xffff        tagged32: uint64_t, tag << 32 | f32 bits
// with tag = step * per_step + version. A reader polls the words it needs; nothing else announces them.
struct BufferRef {
  uint64_t address = 0;   // 0: absent
  uint32_t version = 0;   // which write of a step, from 1
  uint32_t per_step = 0;  // writes of this buffer per step; 0: plain words, which only their writer reads
};

// Weights, norms, tables: constant during a launch, so they may be read at any time.
struct StaticRef {
  uint64_t address = 0;
};

// Constant except for rows appended by the stage itself; which blocks are read comes from a table of block ids.
struct IndexedRef {
  uint64_t address = 0;      // block 0 of this layer
  uint64_t table = 0;        // int32 block ids of the sequence, in order of position
  uint32_t block_bytes = 0;  // from one block to the next
  uint32_t head_bytes = 0;   // from one kv head to the next inside a block
};

struct ProductArgs {
  Epilogue epilogue = Epilogue::store;
  uint32_t n_out = 0, n_in = 0;  // rows and columns of W; n_in is a multiple of 256
  uint32_t n_groups = 0;         // groups of 8 rows
  uint32_t deal = 0;             // which deal says what groups an SM takes
  uint32_t pass_groups = 0;      // groups that an SM finishes and publishes together
  float eps = 0;                 // of the norm that opens the stage
};

struct AttendArgs {
  uint32_t n_heads = 0, n_kv_heads = 0;  // H / K is 1 to 8; head dim is 128
  uint32_t n_splits = 0;                 // SMs per kv head, at most kMaxSplits
  uint32_t block_tokens = 0;             // multiple of kGranuleTokens
  float eps = 0;                         // of the q and k norms
  float scale_log2 = 0;                  // softmax scale * log2(e)
};

struct StageCost {
  uint64_t weight_bytes = 0;     // weights and tables that a step must read
  uint32_t bytes_per_token = 0;  // of cache, per token of context
};

// One stage. Meaning of the references, by op (absent ones have address 0):
//            weights                       reads                           writes
//   embed    table bf16 [V, C], next_norm  -                               x, squares, residual
//   product  W packed, next_norm           x, squares, residual            y, squares | candidates, residual
//   attend   q_norm, k_norm, rope          qkv                             attended, parts
//   argmax   -                             candidates                      -
struct alignas(16) TapeStage {
  Op op = Op::embed;
  uint8_t skip_waits = 0;  // probe launches only
  uint16_t layer = 0;      // for messages
  ProductArgs product{};
  AttendArgs attend{};
  StaticRef weights[3]{};
  IndexedRef cache{};
  BufferRef reads[3]{};
  BufferRef writes[3]{};
  StageCost cost{};
};
static_assert(sizeof(TapeStage) <= 256 && sizeof(TapeStage) % 16 == 0);

// Indices into weights, reads and writes.
enum : int { kMatrix = 0, kNextNorm = 1, kQNorm = 0, kKNorm = 1, kRope = 2 };
enum : int { kVector = 0, kSquares = 1, kCandidates = 1, kParts = 1, kResidual = 2 };

// How the row groups of a product are dealt to the SMs. SM s takes group i * n_sms + s in round i < n_rounds
// (neighbours read neighbouring addresses at the same time), then n_tail groups from first_tail on.
struct DealShare {
  uint32_t n_rounds = 0, n_tail = 0, first_tail = 0;
};

// Packed matrix: tiles of 8 rows x 1024 columns of bf16, row-major inside a tile, tiles ordered [column slice][group].
// The last slice may be narrower (a multiple of 256). The order does not depend on the number of SMs.
constexpr uint32_t kTileRows = 8, kTileColumns = 1024, kTileBytes = kTileRows * kTileColumns * 2;

// Cache granule: 32 tokens of one kv head, one tile: K rows, then V rows, 256 bytes each, the 16-byte chunks of row t
// permuted by xor with t % 8. A block is [kv head][granule].
constexpr uint32_t kHeadDim = 128, kGranuleTokens = 32, kRowBytes = kHeadDim * 2;
static_assert(2 * kGranuleTokens * kRowBytes == kTileBytes);

constexpr uint32_t kMaxSplits = 32;

// A split's part of one head: 128 normalised outputs, then log2 of the sum of its weights; tagged32 words.
constexpr uint32_t kPartWords = 132;

// Row groups per pass of a product that adds to the residual, at most.
constexpr uint32_t kResidualGroups = 8;

// f32 sums that an SM holds per pass: 8 * pass_groups * column slices must fit.
constexpr uint32_t kRegionFloats = 1024;

// Where a launch starts and what it leaves behind.
struct StepState {
  int32_t token = 0;     // fed to the first step; after the launch the last token drawn
  int32_t position = 0;  // of that token
  int32_t step = 0;      // steps since the buffers were cleared; makes the tags
};

}  // namespace arc::tape
