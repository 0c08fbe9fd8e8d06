// Every golden on the device: against transformers, stage by stage against the reference, and the promises of same
// bits. Likewise goldens with wider heads and a compressed cache.
#include "fmt/format.h"

#include "gpu/checks.h"
#include "io/safetensors.h"
#include "parity/deviation.h"
#include "parity/stage_parity.h"
#include "parity/wide_heads.h"

namespace arc::test {
namespace {

struct Variant {
  DType weights, cache;
  int chunk;
  bool prompts = false;
};

class GoldenChecks {
 public:
  GoldenChecks(Golden golden, const Target& target, std::string cache_type = "auto")
      : golden_(std::move(golden)),
        folder_("arc_gpu_" + golden_.name),
        target_(target),
        cache_type_(std::move(cache_type)) {}

  void run(Report& report) {
    report.check("transformers", [&] { return transformers(); });
    for (const Variant& v : kVariants) {
      const std::string chunk = v.chunk == 0 ? "whole" : v.chunk == 1 ? "decode" : fmt::format("chunks of {}", v.chunk);
      report.check(fmt::format("stages, {} weights, {} cache, {}{}", dtype_name(v.weights), dtype_name(v.cache), chunk,
                               v.prompts ? " of a prompt" : ""),
                   [&] { return stages(v); });
    }
    for (const DType dtype : {DType::f32, DType::bf16}) same_bits(report, std::string(dtype_name(dtype)), dtype);
  }

  // The promises that a compressed cache adds to.
  void run_compressed(Report& report) {
    for (const Variant& v : {Variant{DType::f32, DType::f32, 0}, Variant{DType::f32, DType::bf16, 37},
                             Variant{DType::bf16, DType::bf16, 37, true}}) {
      report.check(fmt::format("{}, stages, {} cache, {}{}", cache_type_, dtype_name(v.cache), v.chunk,
                               v.prompts ? " of a prompt" : ""),
                   [&] { return stages(v); });
    }
    same_bits(report, cache_type_, DType::bf16);
  }

 private:
  static constexpr Variant kVariants[] = {{DType::f32, DType::f32, 0},         {DType::f32, DType::f16, 1},
                                          {DType::bf16, DType::bf16, 7},       {DType::bf16, DType::bf16, 1},
                                          {DType::bf16, DType::bf16, 0, true}, {DType::bf16, DType::bf16, 7, true},
                                          {DType::f16, DType::f32, 0}};

  void same_bits(Report& report, const std::string& what, DType dtype) {
    report.check(fmt::format("same bits in mixed batches, {}", what), [&] { return mixed(dtype); });
    if (!golden_.has_head()) return;  // its texts are computed whole
    report.check(fmt::format("same bits in chunks, {}", what), [&] { return chunks(dtype, false); });
    report.check(fmt::format("same bits in chunks of a prompt, {}", what), [&] { return chunks(dtype, true); });
    report.check(fmt::format("same bits as an engine steps, {}", what), [&] { return unobserved(dtype, false); });
    report.check(fmt::format("same bits as an engine steps, prompts, {}", what),
                 [&] { return unobserved(dtype, true); });
    report.check(fmt::format("same bits after swap and copy, {}", what), [&] { return swapped(dtype); });
  }

  Checkpoint checkpoint(DType dtype) const {
    const auto path = folder_.path() / "model.safetensors";
    write_checkpoint(golden_, dtype, path);
    return open_safetensors(path);
  }
  TinyModel model(DType dtype, bool observed = true, bool prompts = false) const {
    return {golden_.config_json, checkpoint(dtype),
            TinyOptions{.cache = dtype,
                        .cache_type = cache_type_,
                        .backend = target_.backend,
                        .places = 4,
                        .observed = observed,
                        .prompts = prompts}};
  }

  Finding transformers() {
    TinyModel model(golden_.config_json, checkpoint(DType::f32), TinyOptions{.backend = target_.backend});
    Finding finding{.share = worst_share(deviations(golden_, model.run(golden_.tokens)))};
    finding.ok = *finding.share <= 1.0;
    return finding;
  }

  Finding stages(const Variant& v) {
    const TinyOptions options{
        .cache = v.cache, .cache_type = cache_type_, .backend = target_.backend, .prompts = v.prompts};
    const double rounding = v.weights == DType::f32 ? 0.0 : v.prompts ? kPromptRounding : kProductRounding;
    const bool exact = !v.prompts || v.cache == DType::f32 || (cache_type_ == "auto" && v.cache == DType::f16);
    const double attend_rounding = exact ? 0.0 : kBf16Rounding;
    return finding_of(stage_parity(golden_, checkpoint(v.weights), options, v.chunk, rounding, attend_rounding));
  }

  Finding chunks(DType dtype, bool prompts) {
    TinyModel tiny = model(dtype, true, prompts);
    const std::vector<double> whole = tiny.run(golden_.tokens).logits;
    Finding finding;
    for (const int chunk : {0, 1, 2, 3, 7, 16, 63, 64, 65, 100}) {
      if (chunk > static_cast<int>(golden_.tokens.size())) break;
      const std::string difference = first_difference(tiny.run(golden_.tokens, chunk).logits, whole);
      if (!difference.empty()) finding.fail(fmt::format("chunk {}: {}", chunk, difference));
    }
    return finding;
  }

  // Without an observer stages share launches, and single tokens are captured graphs.
  Finding unobserved(DType dtype, bool prompts) {
    const std::vector<double> expected = model(dtype, true, prompts).run(golden_.tokens).logits;
    TinyModel tiny = model(dtype, false, prompts);
    Finding finding;
    for (const int chunk : {0, 1}) {
      const std::string difference = first_difference(tiny.run(golden_.tokens, chunk).logits, expected);
      if (!difference.empty()) finding.fail(fmt::format("chunk {}: {}", chunk, difference));
    }
    return finding;
  }

  // Three sequences of the golden's tokens: as they are, reversed, and from the middle on.
  std::vector<std::vector<int32_t>> sequences() const {
    std::vector<int32_t> reversed(golden_.tokens.rbegin(), golden_.tokens.rend());
    std::vector<int32_t> half(golden_.tokens.begin() + static_cast<ptrdiff_t>(golden_.tokens.size() / 2),
                              golden_.tokens.end());
    return {golden_.tokens, reversed, half};
  }

  // Step s gives sequence i a chunk of kSizes[(s + 2 i) % 5] tokens from step i on: prefill beside decode. All of all
  // at once where a text is computed whole. The last sequence is a prompt.
  Finding mixed(DType dtype) {
    constexpr size_t kSizes[] = {5, 1, 1, 9, 1};
    TinyModel tiny = model(dtype), prompt = model(dtype, true, true);
    const auto tokens = sequences();
    std::vector<std::vector<double>> expected, got(tokens.size());
    for (const auto& sequence : tokens) {
      const bool last = &sequence == &tokens.back();
      expected.push_back((last ? prompt : tiny).run(sequence).logits);
    }
    tiny.clear_cache();
    std::vector<size_t> done(tokens.size());
    const bool whole = tiny.plan().bidirectional;
    const auto width = static_cast<ptrdiff_t>(expected[0].size() / tokens[0].size());
    for (size_t s = 0;; ++s) {
      std::vector<TinyModel::Piece> pieces;
      for (size_t i = 0; i < tokens.size() && (whole || i <= s); ++i) {
        const size_t most = whole ? tokens[i].size() : kSizes[(s + 2 * i) % std::size(kSizes)];
        const size_t n = std::min(most, tokens[i].size() - done[i]);
        if (n == 0) continue;
        pieces.push_back({.tokens = std::span(tokens[i]).subspan(done[i], n),
                          .position = static_cast<int>(done[i]),
                          .place = static_cast<int>(i),
                          .known = static_cast<int>(tokens[i].size()),
                          .prompt = i + 1 == tokens.size()});
        done[i] += n;
      }
      if (pieces.empty()) break;
      TinyModel::Outputs outputs;
      tiny.step(pieces, outputs);
      auto row = outputs.logits.begin();
      for (const TinyModel::Piece& piece : pieces) {
        const auto end = row + static_cast<ptrdiff_t>(piece.tokens.size()) * width;
        got[static_cast<size_t>(piece.place)].insert(got[static_cast<size_t>(piece.place)].end(), row, end);
        row = end;
      }
    }
    Finding finding;
    for (size_t i = 0; i < tokens.size(); ++i) {
      const std::string difference = first_difference(got[i], expected[i]);
      if (!difference.empty()) finding.fail(fmt::format("sequence {}: {}", i, difference));
    }
    return finding;
  }

  // The second half of a sequence after its cache went to the host, another took its place, and it came back elsewhere;
  // then once more after a copy on the device.
  Finding swapped(DType dtype) {
    TinyModel tiny = model(dtype);
    const auto tokens = sequences();
    const std::vector<double> expected = tiny.run(tokens[0]).logits;
    const int half = static_cast<int>(tokens[0].size() / 2), known = static_cast<int>(tokens[0].size());
    const auto first = std::span(tokens[0]).first(half), second = std::span(tokens[0]).subspan(half);
    const auto step = [&](std::span<const int32_t> part, int position, int place, std::span<const StepCopy> copies) {
      TinyModel::Outputs outputs;
      const TinyModel::Piece piece{.tokens = part, .position = position, .place = place, .known = known};
      tiny.step({&piece, 1}, outputs, copies);
      return outputs.logits;
    };
    tiny.clear_cache();
    step(first, 0, 0, {});
    Executor& executor = tiny.inspected().executor();
    executor.swap_out(tiny.copies(0, 2));
    step(tokens[1], 0, 0, {});
    executor.swap_in(tiny.copies(2, 1));
    const std::vector<StepCopy> copies = tiny.copies(1, 3);
    const std::vector<double> last(expected.begin() + static_cast<ptrdiff_t>(half) * tiny.plan().vocab, expected.end());
    Finding finding;
    // Copied before the step writes to place 1.
    const std::string back = first_difference(step(second, half, 1, copies), last);
    if (!back.empty()) finding.fail("swapped back: " + back);
    const std::string copied = first_difference(step(second, half, 3, {}), last);
    if (!copied.empty()) finding.fail("copied: " + copied);
    return finding;
  }

  Golden golden_;
  TemporaryFolder folder_;
  Target target_;
  std::string cache_type_;
};

// Goldens with heads that codebooks exist for: sinks, windows, soft caps, states.
constexpr std::pair<const char*, int> kWidened[] = {
    {"qwen3", 64}, {"gemma2", 80}, {"gpt_oss", 64}, {"qwen3_next", 80}, {"llama", 128}};
constexpr int kWideTokens = 130;  // two full tiles and a part
constexpr const char* kCacheTypes[] = {"turboquant",
                                       "turboquant,recent=0,open=16",
                                       "turboquant,boundary=0,open=16",
                                       "turboquant-3,boundary=0",
                                       "turboquant-3,boundary=0,recent=0,open=16",
                                       "turboquant-aggressive,boundary=0,recent=0,open=16",
                                       "turboquant-t3,boundary=0",
                                       "turboquant-t4,v=2,boundary=0,recent=0,open=16",
                                       "q8",
                                       "f8e4m3"};

}  // namespace

Finding finding_of(const ParityReport& report) {
  return {.ok = report.failures.empty(),
          .share = report.worst(),
          .by_operation = report.shares,
          .details = report.failures};
}

void add_golden_suites(std::vector<Suite>& suites) {
  for (const std::string& name : golden_names()) {
    suites.push_back({"golden/" + name, [name](Report& report, const Target& target) {
                        GoldenChecks(read_golden(name), target).run(report);
                      }});
  }
  for (const auto& [name, head_dim] : kWidened) {
    suites.push_back(
        {fmt::format("policy/{}", name), [name, head_dim](Report& report, const Target& target) {
           for (const char* type : kCacheTypes) {
             GoldenChecks(with_wide_heads(name, head_dim, kWideTokens), target, type).run_compressed(report);
           }
         }});
  }
}

}  // namespace arc::test
