// From a preset's name to the cache policy of each layer, with the reason.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "plan/plan.h"
#include "spec/model_spec.h"

namespace arc {

// A preset as asked for.
struct CacheType {
  std::string name;
  KvPolicy::Side k, v;
  int boundary = 0;      // so many of the first and of the last tiled layers keep keys at 8 bits
  int recent = 0;        // KvPolicy::recent
  int open = 16;         // bits of open tiles: 16, as --dtype says, or 8
  bool trellis = false;  // sides of 2 to 4 bits are a trellis code (quant/trellis.h) instead of levels
};

// One of the presets, with changes: "turboquant", "turboquant,boundary=0", "turboquant,k=4,v=4,code=trellis". Throws
// Error(invalid_argument) that lists them.
CacheType parse_cache_type(std::string_view text);
// Names of the presets, separated by commas.
std::string cache_type_names();

// How one layer is stored, and why so.
struct LayerCache {
  bool present = false;  // false: the layer keeps a recurrent state, no keys
  KvPolicy policy;
  std::string reason;  // empty: as asked
};

// Of each layer. `raw`: the type of what is not compressed. A tiled preset leaves layers uncompressed that it does not
// fit: latents, attention that is not causal, windows under kMinTiledWindow, heads without a codebook.
std::vector<LayerCache> resolve_cache(const ModelSpec& spec, const CacheType& type, DType raw);

inline constexpr int kMinTiledWindow = 4 * kTileTokens;

// The groups as they would be with nothing compressed: without open tiles.
std::vector<CacheNeeds> uncompressed(const std::vector<CacheNeeds>& groups);

// Bytes of one token of context in all layers: as `plan` stores it, and as it would be uncompressed. States and open
// tiles are not counted.
struct CacheBytes {
  int64_t stored = 0, raw = 0;
};
CacheBytes cache_bytes_per_token(const Plan& plan);

// Layer by layer, equal ones together: form, bytes, reason; then what a token and a sequence take beside `auto`.
std::string describe_cache(const Plan& plan, const std::vector<LayerCache>& layers);

}  // namespace arc
