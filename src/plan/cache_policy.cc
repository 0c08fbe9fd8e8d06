#include "plan/cache_policy.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "fmt/format.h"

#include "base/error.h"
#include "quant/turbo.h"

namespace arc {
namespace {

using Codec = KvPolicy::Codec;

constexpr KvPolicy::Side kRaw{}, kF8{.codec = Codec::f8e4m3, .bits = 8}, kInt8{.codec = Codec::int8_block, .bits = 8};
constexpr uint32_t kRotationSeed = 1;
constexpr int kMaxRecentTiles = 64;

constexpr KvPolicy::Side turbo(int bits) {
  return {.codec = Codec::turbo, .bits = static_cast<uint8_t>(bits)};
}

struct Preset {
  std::string_view name;
  KvPolicy::Side k, v;
  int boundary = 0, recent = 0, open = 16;
  bool trellis = false;
};

constexpr Preset kPresets[] = {
    {"auto", kRaw, kRaw},
    {"turboquant", turbo(4), turbo(3), 1, 1, 8},
    {"turboquant-3", turbo(3), turbo(3), 2, 1, 8},
    {"turboquant-aggressive", turbo(3), turbo(2), 2, 1, 8},
    {"turboquant-t3", turbo(3), turbo(3), 1, 1, 8, true},
    {"turboquant-t4", turbo(4), turbo(4), 1, 1, 8, true},
    {"q8", kInt8, kInt8},
    {"f8e4m3", kF8, kF8},
};

[[noreturn]] void refuse(std::string_view text, std::string_view why) {
  throw Error(ErrorCode::invalid_argument,
              fmt::format("the cache type \"{}\": {}; known are {}, and for turboquant the changes k=BITS, v=BITS, "
                          "boundary=LAYERS, recent=TILES, open=8 or 16 and code=levels or trellis, such as "
                          "turboquant,boundary=0",
                          text, why, cache_type_names()));
}

void change(CacheType& type, std::string_view text, std::string_view setting) {
  const size_t equals = setting.find('=');
  const std::string_view key = setting.substr(0, equals);
  const std::string_view number = equals == std::string_view::npos ? "" : setting.substr(equals + 1);
  if (key == "code" && type.k.codec == Codec::turbo && (number == "levels" || number == "trellis")) {
    type.trellis = number == "trellis";
    return;
  }
  int value = -1;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), value);
  if (error != std::errc() || end != number.data() + number.size() || value < 0 || type.k.codec != Codec::turbo) {
    refuse(text, fmt::format("\"{}\" is no change of it", setting));
  }
  if (key == "boundary") {
    type.boundary = value;
  } else if (key == "recent" && value <= kMaxRecentTiles) {
    type.recent = value;
  } else if (key == "open" && (value == 8 || value == 16)) {
    type.open = value;
  } else if ((key == "k" || key == "v") && is_turbo_width(value)) {
    (key == "k" ? type.k : type.v) = turbo(value);
  } else {
    refuse(text, fmt::format("\"{}\" is no change of it", setting));
  }
}

// With code=trellis sides of 2 to 4 bits are coded so; 8 bits need no code.
void choose_codes(CacheType& type, std::string_view text) {
  for (KvPolicy::Side* side : {&type.k, &type.v}) {
    if (!type.trellis || side->bits == kUniformBits) continue;
    if (!is_trellis_width(side->bits)) {
      refuse(text, fmt::format("a trellis has 2 to 4 bits, not {}: change k= and v=, or take code=levels", side->bits));
    }
    side->codec = Codec::trellis;
  }
}

bool is_tiled(const CacheType& type) {
  return type.k.codec == Codec::turbo || type.k.codec == Codec::trellis;
}

// Why a tiled policy does not fit the layer; empty: it does.
std::string misfit(const MixerSpec& mixer) {
  const auto* attention = std::get_if<AttentionSpec>(&mixer);
  if (attention == nullptr) return "latent keys";
  if (!attention->causal) return "not causal";
  if (attention->window > 0 && attention->window < kMinTiledWindow) {
    return fmt::format("a window of {} tokens", attention->window);
  }
  if (!std::ranges::count(kCodebookDims, attention->head_dim)) {
    return fmt::format("no codebook for heads of {}", attention->head_dim);
  }
  return {};
}

std::string describe(KvPolicy::Side side, DType raw) {
  switch (side.codec) {
    case Codec::raw:
      return std::string(dtype_name(raw));
    case Codec::f8e4m3:
      return "f8e4m3";
    case Codec::int8_block:
      return "int8 blocks of 32";
    case Codec::trellis:
      return fmt::format("{} bits by trellis", side.bits);
    case Codec::turbo:
      break;
  }
  return fmt::format("{} bits", side.bits);
}

bool keeps_tokens(const CacheNeeds& group) {
  return group.kind != CacheKind::state && group.kind != CacheKind::open;
}

int64_t token_bytes(const CacheNeeds& group) {
  return group.layer_block_bytes() / kTileTokens;
}

// How a layer is stored, in words; empty without keys.
std::string describe(const Plan& plan, const std::vector<LayerCache>& layers, int layer) {
  const LayerCache& cache = layers[static_cast<size_t>(layer)];
  if (!cache.present) return {};
  const auto group = std::ranges::find_if(
      plan.groups, [&](const CacheNeeds& g) { return keeps_tokens(g) && std::ranges::count(g.layers, layer) > 0; });
  const KvPolicy& policy = cache.policy;
  const std::string k = describe(policy.k, policy.raw), v = describe(policy.v, policy.raw);
  return fmt::format("{}, {} bytes a token{}", group->v_dim == 0 || k == v ? k : "keys " + k + ", values " + v,
                     token_bytes(*group), cache.reason.empty() ? "" : " (" + cache.reason + ")");
}

}  // namespace

std::string cache_type_names() {
  std::string names;
  for (const Preset& preset : kPresets) names += (names.empty() ? "" : ", ") + std::string(preset.name);
  return names;
}

CacheType parse_cache_type(std::string_view text) {
  const std::string_view name = text.substr(0, text.find(','));
  const auto* preset = std::ranges::find(kPresets, name, &Preset::name);
  if (preset == std::end(kPresets)) refuse(text, "there is no such preset");
  CacheType type{.name = std::string(text),
                 .k = preset->k,
                 .v = preset->v,
                 .boundary = preset->boundary,
                 .recent = preset->recent,
                 .open = preset->open,
                 .trellis = preset->trellis};
  for (std::string_view rest = text.substr(name.size()); !rest.empty();) {
    const std::string_view setting = rest.substr(1, rest.find(',', 1) - 1);
    change(type, text, setting);
    rest.remove_prefix(1 + setting.size());
  }
  choose_codes(type, text);
  return type;
}

std::vector<LayerCache> resolve_cache(const ModelSpec& spec, const CacheType& type, DType raw) {
  std::vector<LayerCache> out(spec.layers.size());
  std::vector<LayerCache*> tiled;
  for (size_t l = 0; l < out.size(); ++l) {
    const MixerSpec& mixer = spec.layers[l].mixer;
    if (std::holds_alternative<DeltaNetSpec>(mixer)) continue;
    out[l] = {.present = true, .policy = KvPolicy::raw_of(raw)};
    if (is_tiled(type)) out[l].reason = misfit(mixer);
    if (type.k.codec == Codec::raw || !out[l].reason.empty()) continue;
    out[l].policy.k = type.k;
    out[l].policy.v = type.v;
    if (!out[l].policy.tiled()) continue;
    out[l].policy.seed = kRotationSeed;
    out[l].policy.recent = static_cast<uint16_t>(type.recent);
    out[l].policy.open_int8 = type.open == 8;
    tiled.push_back(&out[l]);
  }
  const auto n = static_cast<int>(tiled.size());
  for (int i = 0; i < n; ++i) {
    if (i >= type.boundary && i < n - type.boundary) continue;
    tiled[i]->policy.k = turbo(kUniformBits);
    tiled[i]->reason = "among the first or last";
  }
  return out;
}

std::vector<CacheNeeds> uncompressed(const std::vector<CacheNeeds>& groups) {
  std::vector<CacheNeeds> raw;
  for (const CacheNeeds& group : groups) {
    if (group.kind == CacheKind::open) continue;
    raw.push_back(group);
    raw.back().policy = KvPolicy::raw_of(group.policy.raw);
  }
  return raw;
}

CacheBytes cache_bytes_per_token(const Plan& plan) {
  const auto bytes_of = [](const std::vector<CacheNeeds>& groups) {
    int64_t bytes = 0;
    for (const CacheNeeds& group : groups) {
      if (keeps_tokens(group)) bytes += static_cast<int64_t>(group.layers.size()) * token_bytes(group);
    }
    return bytes;
  };
  return {.stored = bytes_of(plan.groups), .raw = bytes_of(uncompressed(plan.groups))};
}

std::string describe_cache(const Plan& plan, const std::vector<LayerCache>& layers) {
  std::vector<std::pair<std::string, std::string>> lines;  // form, layers
  const auto n = static_cast<int>(layers.size());
  for (int first = 0, end = 0; first < n; first = end) {
    const std::string form = describe(plan, layers, first);
    for (end = first + 1; end < n && describe(plan, layers, end) == form;) ++end;
    if (form.empty()) continue;
    const std::string range = end - first > 1 ? fmt::format("{}-{}", first, end - 1) : std::to_string(first);
    const auto line = std::ranges::find(lines, form, &std::pair<std::string, std::string>::first);
    if (line == lines.end()) {
      lines.emplace_back(form, range);
    } else {
      line->second += ", " + range;
    }
  }
  std::string text;
  for (const auto& [form, where] : lines) text += fmt::format("cache of layers {}: {}\n", where, form);
  const CacheBytes bytes = cache_bytes_per_token(plan);
  if (bytes.stored == bytes.raw) return text;
  text += fmt::format("a token of context takes {} bytes, {:.2f} times fewer than uncompressed\n", bytes.stored,
                      static_cast<double>(bytes.raw) / static_cast<double>(bytes.stored));
  for (const CacheNeeds& group : plan.groups) {
    if (group.kind != CacheKind::open) continue;
    const int64_t n_tiles = 1 + group.window / kTileTokens;
    text += fmt::format("the last {} tokens of each sequence are {}, {} bytes a sequence\n", n_tiles * kTileTokens,
                        describe(group.policy.k, group.policy.raw), n_tiles * group.bytes_per_block());
  }
  return text;
}

}  // namespace arc
