// TurboQuant, the definition: vector <-> codes and norm, codes <-> packed bytes of a tile. Kernels are compared with
// it. Source: arXiv 2504.19874, the variant that minimises the squared error (Q_mse), with the norm corrected.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <span>
#include <vector>

#include "quant/codebook.h"
#include "quant/kv_layout.h"
#include "quant/rotation.h"
#include "quant/trellis.h"
#include "quant/turbo_words.h"

namespace arc {

inline constexpr float kMaxF16 = 65504.0f;
inline constexpr int kMaxTurboDim = kCodebookDims[std::size(kCodebookDims) - 1];

// The grid that a role's products want: keys are looked up by magnitude and sign, values by a signed table.
constexpr Grid grid_of(KvRole role) {
  return role == KvRole::key ? Grid::odd_halves : Grid::whole;
}

// Bits of a coordinate that are codes of a codebook. With kUniformBits the levels are -127 to 127, as parts of the
// vector's largest coordinate, which takes the norm's place.
constexpr int kUniformBits = 8;
constexpr bool is_turbo_width(int bits) {
  return (bits >= 1 && bits <= kMaxGridBits) || bits == kUniformBits;
}

// One role of one head of `dim` coordinates at `bits` bits each. Vectors are rotated before they are encoded, and stay
// so: attention works on rotated keys with a rotated query, and rotates the sum of rotated values back.
class TurboCodec {
 public:
  // `dim` is one of kCodebookDims; of side.bits is_turbo_width() or, of a trellis, is_trellis_width() is true.
  TurboCodec(KvRole role, int dim, KvPolicy::Side side, uint32_t seed);
  TurboCodec(KvRole role, int dim, int bits, uint32_t seed)
      : TurboCodec(role, dim, {.codec = KvPolicy::Codec::turbo, .bits = static_cast<uint8_t>(bits)}, seed) {}
  TurboCodec(const TurboCodec&) = delete;

  int dim() const { return rotation_.dim(); }
  int bits() const { return bits_; }
  const Codebook& book() const { return *book_; }      // none with kUniformBits or a trellis
  const Trellis* trellis() const { return trellis_; }  // null: a codebook, or kUniformBits
  const Rotation& rotation() const { return rotation_; }
  const TurboTable& table() const { return table_; }
  std::span<const float> levels() const { return levels_; }    // of all codes, ascending; none of a trellis
  std::span<const float> borders() const { return borders_; }  // between them

  // x <- R x, [dim]; its own inverse.
  void rotate(float* x) const;

  // Rotated y [dim] to codes [dim] and a norm in f16. The norm is scaled so that the decoded vector is as long as y. A
  // vector of zeros gets the norm 0, whatever its codes; a norm beyond f16 becomes f16's largest number.
  void encode(const float* y, uint8_t* codes, uint16_t* norm, TrellisWalk walk = walk_trellis) const;
  // y [dim], near the one that was encoded.
  void decode(const uint8_t* codes, uint16_t norm, float* y) const;

  // codes [kTileTokens, dim] to a tile's bytes and back.
  void pack_tile(const uint8_t* codes, std::byte* tile) const;
  void unpack_tile(const std::byte* tile, uint8_t* codes) const;
  // All rows of a tile, decoded: row t at out + t * stride. `norms` in the order of norm_place().
  void load_tile(const std::byte* tile, const uint16_t* norms, float* out, int64_t stride) const;

 private:
  void fill_table();
  void fill_windows();
  template <typename F>
  void for_fields(const WordGroup& group, const F& f) const;
  // Where word k of a group lies in a tile.
  int64_t word_bytes(const WordGroup& group, int k) const {
    const int words = word_groups(dim()) * bits_;
    return 4 * word_place(role_, words, group.token, group.coordinate, group.first_word + k);
  }
  void encode_uniform(const float* y, uint8_t* codes, uint16_t* norm) const;
  void encode_ring(const float* y, uint8_t* codes, uint16_t* norm, TrellisWalk walk) const;

  KvRole role_;
  int bits_ = 0;
  const Codebook* book_ = nullptr;
  const Trellis* trellis_ = nullptr;
  Rotation rotation_;
  std::vector<float> levels_, borders_;
  std::vector<uint8_t> windows_;
  TurboTable table_;
};

// ---- tiles ---------------------------------------------------------------------------------------------------------
//
// The codes of kTileTokens tokens of one head and role. Coordinates come in groups of 32; the last group of a dim that
// 32 does not divide is filled up. In a group, coordinate 8 m + e is the e-th of set m. Eight codes, one per nibble n
// of a 32-bit word, lie in the words of their group as
//   4 bits   set m in word m
//   3 bits   sets 0 to 2 in the lower three bits of words 0 to 2; bit k of set 3 in the top bit of word k's nibbles
//   2 bits   sets 2 i and 2 i + 1 in the lower and upper half of the nibbles of word i
//   1 bit    set m in bit m of the nibbles
// Keys lie token by token, nibble n = e; at 4 bits a code is stored as magnitude in the nibble's lower three bits, and
// its sign in bit 7 + 8 e (e < 4) or 3 + 8 (e - 4), so that one byte permutation spreads the signs. Values lie by 32
// tokens: the nibbles of a word are eight tokens of one coordinate, token 8 (2 r + b) + 2 c + i in nibble 4 r + 2 b + i
// of lane 4 e + c. A lane's words follow each other in lines of four (16 bytes a lane, 32 lanes a line), the last line
// holding what is left. These are the fragments of an 8-bit matrix product of 16 x 8 x 32; CPU kernels read the same
// bytes.
//
// Of a trellis a tile is its tokens' rows (quant/trellis.h), keys and values alike.

// Bytes of the codes of a tile.
int64_t turbo_tile_bytes(int dim, int bits);
constexpr int64_t trellis_tile_bytes(int dim, int bits) {
  return int64_t{kTileTokens} * trellis_row_bytes(dim, bits);
}

}  // namespace arc
