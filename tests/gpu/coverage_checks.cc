// Every architecture with every weight format and every form of the cache, stage by stage against the reference. The
// models are the goldens' own, wide enough for blocks of 256 weights and for codebooks, with random weights.
#include <algorithm>

#include "fmt/format.h"

#include "gpu/checks.h"
#include "gpu/wide_model.h"
#include "parity/stage_parity.h"

namespace arc::test {
namespace {

// Two full tiles and a part, the last token by itself: what is packed, and what is open beside it.
constexpr int kTokens = 130, kChunk = 43;
constexpr int kFewTokens = 21, kFewChunk = 10;  // where nothing is packed

std::vector<WeightFormat> weight_formats() {
  std::vector<WeightFormat> formats;
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) formats.push_back(WeightFormat::plain(dtype));
  for (int code = 1; code <= static_cast<int>(BlockCode::mxfp4); ++code) {
    if (block_code_info(static_cast<BlockCode>(code)).runs_packed)
      formats.push_back(WeightFormat::blocks(static_cast<BlockCode>(code)));
  }
  return formats;
}

struct CacheForm {
  const char* type;
  DType raw;
  const char* name;
};
constexpr CacheForm kCaches[] = {{"auto", DType::f32, "f32"},
                                 {"auto", DType::f16, "f16"},
                                 {"auto", DType::bf16, "bf16"},
                                 {"q8", DType::bf16, "q8"},
                                 {"f8e4m3", DType::bf16, "f8e4m3"},
                                 {"turboquant", DType::bf16, "turboquant"},
                                 {"turboquant-3", DType::bf16, "turboquant-3"},
                                 {"turboquant-aggressive", DType::bf16, "turboquant-aggressive"},
                                 {"turboquant,boundary=0,recent=0,open=16", DType::bf16, "turboquant, open 16"}};

// Why no layer of the model is packed in tiles; empty: one is.
std::string untiled(const std::vector<LayerCache>& caches) {
  std::string reason = "no attention";
  for (const LayerCache& cache : caches) {
    if (cache.present && cache.policy.tiled()) return {};
    if (cache.present && !cache.reason.empty()) reason = cache.reason;
  }
  return reason;
}

// Short windows are not packed.
PairResult compare(const WideModel& short_windows, const CacheForm& cache, const Target& target, double rounding,
                   Finding& finding) {
  const bool wants_tiles = parse_cache_type(cache.type).k.codec == KvPolicy::Codec::turbo;
  const WideModel model = wants_tiles ? short_windows.with_windows(kMinTiledWindow) : short_windows;
  const std::vector<LayerCache> caches = model.caches(cache.type, cache.raw);
  if (const std::string reason = untiled(caches); wants_tiles && !reason.empty())
    return {.cache = cache.name, .skipped = "stays uncompressed: " + reason};
  TinyModel reference(model.reference(caches), {}), other(model.made(caches), {.backend = target.backend});
  const int chunk = model.whole_texts() ? 0 : wants_tiles ? kChunk : kFewChunk;
  const ParityReport report =
      stage_parity(reference, other, model.tokens(wants_tiles ? kTokens : kFewTokens), chunk, rounding);
  for (const std::string& failure : report.failures) finding.fail(fmt::format("{} cache: {}", cache.name, failure));
  for (const auto& [op, share] : report.shares) {
    double& worst = finding.by_operation[op];
    worst = std::max(worst, share);
  }
  return {.cache = cache.name, .share = report.worst()};
}

// All forms of the cache for one model in one format.
Finding compare_caches(const Golden& golden, const WeightFormat& format, const Target& target) {
  Finding finding{.share = 0.0};
  WideModel model(golden, format);
  if (target.backend != nullptr) model.pack(target.backend->pack);
  for (const CacheForm& cache : kCaches) {
    PairResult pair =
        compare(model, cache, target, format == WeightFormat::plain(DType::f32) ? 0.0 : kProductRounding, finding);
    pair.architecture = golden.arch;
    pair.format = to_string(format);
    finding.share = std::max(*finding.share, pair.share);
    finding.pairs.push_back(pair);
  }
  return finding;
}

}  // namespace

void add_coverage_suites(std::vector<Suite>& suites) {
  suites.push_back({"coverage", [](Report& report, const Target& target) {
                      std::vector<Check> checks;
                      for (const WeightFormat& format : weight_formats()) {
                        for (const std::string& name : golden_names())
                          checks.push_back({fmt::format("{}, {} weights, every cache", name, to_string(format)),
                                            [=] { return compare_caches(read_golden(name), format, target); }});
                      }
                      report.check_all(checks);
                    }});
}

}  // namespace arc::test
