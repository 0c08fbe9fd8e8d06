// Each device kernel against the reference at sizes of real models, and at odd ones.
#include <cmath>
#include <functional>
#include <tuple>

#include "fmt/format.h"

#include "gpu/checks.h"
#include "gpu/hand_plan.h"
#include "parity/stage_parity.h"
#include "quant/block_code.h"
#include "quant/codebook.h"

namespace arc::test {
namespace {

const WeightFormat kF32 = WeightFormat::plain(DType::f32);

// One model made by hand on the reference and on the device.
struct Pair {
  TinyModel reference, other;

  Pair(const HandMade& model, const Target& target, bool prompts = false, int max_tokens = 1280)
      : reference(model, {.max_tokens = max_tokens}),
        other(model, {.backend = target.backend, .max_tokens = max_tokens, .prompts = prompts}) {}

  // Stage by stage for each number of tokens per step, and the same bits whatever it is.
  Finding compare(int n_tokens, std::initializer_list<int> chunks, double rounding, double attend_rounding = 0.0) {
    const std::vector<int32_t> tokens = hand_tokens(n_tokens);
    ParityReport all;
    std::vector<double> first;
    Finding finding;
    for (const int chunk : chunks) {
      const ParityReport report = stage_parity(reference, other, tokens, chunk, rounding, attend_rounding);
      for (const auto& [op, share] : report.shares) all.shares[op] = std::max(all.shares[op], share);
      for (const std::string& f : report.failures) all.failures.push_back(fmt::format("chunk {}: {}", chunk, f));
      const std::vector<double> got = other.run(tokens, chunk).logits;
      if (first.empty()) first = got;
      const std::string difference = first_difference(got, first);
      if (!difference.empty()) all.failures.push_back(fmt::format("chunk {} gives other bits: {}", chunk, difference));
    }
    return finding_of(all);
  }
};

const std::vector<WeightFormat>& formats() {
  static const std::vector<WeightFormat> kFormats = {
      kF32,
      WeightFormat::plain(DType::bf16),
      WeightFormat::plain(DType::f16),
      WeightFormat::blocks(BlockCode::q8_0),
      WeightFormat::blocks(BlockCode::q4_0),
      WeightFormat::blocks(BlockCode::q4_k),
      WeightFormat::blocks(BlockCode::q5_k),
      WeightFormat::blocks(BlockCode::q6_k),
  };
  return kFormats;
}

double rounding_of(const WeightFormat& format) {
  return format == kF32 ? 0.0 : kProductRounding;
}

// Tiles have 128 tokens, 128 or 256 rows and 64 columns. Weights in a block code are rounded, too.
void prompt_products(Report& report, const Target& target) {
  const std::tuple<WeightFormat, int32_t, int32_t> sizes[] = {
      {WeightFormat::plain(DType::bf16), 2304, 259},     {WeightFormat::plain(DType::bf16), 512, 1000},
      {WeightFormat::plain(DType::bf16), 72, 40},        {WeightFormat::plain(DType::bf16), 1096, 256},
      {WeightFormat::blocks(BlockCode::q8_0), 544, 300}, {WeightFormat::blocks(BlockCode::q4_0), 512, 259},
      {WeightFormat::blocks(BlockCode::q4_k), 768, 300}, {WeightFormat::blocks(BlockCode::q5_k), 512, 130},
      {WeightFormat::blocks(BlockCode::q6_k), 256, 520}};
  for (const auto& [format, in, out] : sizes) {
    report.check(fmt::format("linear {} of a prompt, {} to {} with bias", to_string(format), in, out), [&] {
      HandPlan plan(in);
      const BufferRef y = plan.buffer("y", out + 12), tail = HandPlan::slice(y, out % 2 == 0 ? 12 : 11, out);
      plan.stage(LinearArgs{}, {plan.matrix(format, 1, out, in, 0.02f, true)}, {plan.input()}, {tail});
      const double rounding = format.code == BlockCode::none ? kPromptRounding : 2 * kPromptRounding;
      return Pair(plan.finish(tail), target, true).compare(300, {0, 1, 7, 129, 256}, rounding);
    });
  }
}

// Without an observer a product and its activation share a launch, and prompts' rows are handed on as bf16: the bits of
// stages by themselves.
Finding same_unobserved(const HandMade& model, const Target& target, int n_tokens, std::initializer_list<int> chunks) {
  const TinyOptions apart{.backend = target.backend, .max_tokens = 1280, .prompts = true};
  TinyOptions together = apart;
  together.observed = false;
  const std::vector<int32_t> tokens = hand_tokens(n_tokens);
  const std::vector<double> expected = TinyModel(model, apart).run(tokens).logits;
  TinyModel tiny(model, together);
  Finding finding;
  for (const int chunk : chunks) {
    const std::string difference = first_difference(tiny.run(tokens, chunk).logits, expected);
    if (!difference.empty()) finding.fail(fmt::format("chunk {}: {}", chunk, difference));
  }
  return finding;
}

// Up to 16 rows are products of warps, more of warpgroups, in tiles of 32, 64 or 128 tokens, 64 to 192 weight rows and
// 64 columns: the same bits.
void many_rows(Report& report, const Target& target) {
  for (const auto& [in, out] : {std::pair(4168, 200), std::pair(520, 1200), std::pair(136, 3001), std::pair(40, 72)}) {
    report.check(fmt::format("linear bf16 of many rows, {} to {}", in, out), [&, in = in, out = out] {
      HandPlan plan(in);
      const BufferRef y = plan.buffer("y", out + 3);
      plan.stage(LinearArgs{}, {plan.matrix(WeightFormat::plain(DType::bf16), 1, out, in, 0.02f)}, {plan.input()},
                 {HandPlan::slice(y, 3, out)});
      return Pair(plan.finish(HandPlan::slice(y, 3, out)), target)
          .compare(300, {0, 1, 9, 16, 17, 40, 65, 129}, kProductRounding);
    });
  }
}

// Without an observer a product and its activation share a launch.
void gated_prompts(Report& report, const Target& target) {
  for (const Act act : {Act::silu, Act::gelu_tanh, Act::relu}) {
    for (const WeightFormat& format : {WeightFormat::plain(DType::bf16), WeightFormat::blocks(BlockCode::q8_0)}) {
      report.check(fmt::format("linear {} and act {} of a prompt", to_string(format), static_cast<int>(act)), [&] {
        constexpr int32_t kHidden = 330;
        HandPlan plan(512);
        const BufferRef both = plan.buffer("both", 2 * kHidden), y = plan.buffer("y", kHidden);
        const bool bias = format.code == BlockCode::none;
        plan.stage(LinearArgs{}, {plan.matrix(format, 1, 2 * kHidden, 512, 0.1f, bias)}, {plan.input()}, {both});
        plan.stage(ActArgs{.act = act, .hidden = kHidden}, {}, {both}, {y});
        return same_unobserved(plan.finish(y), target, 300, {0, 1, 129});
      });
    }
  }
}

void products(Report& report, const Target& target) {
  std::vector<Check> checks;
  for (const WeightFormat& format : formats()) {
    const bool blocks = format.code != BlockCode::none;
    const bool short_blocks = blocks && block_code_info(format.code).elements == 32;
    for (const int32_t width : {2304, 512, short_blocks ? 608 : blocks ? 256 : 1003}) {
      checks.push_back({fmt::format("linear {}, {} to 259 with bias", to_string(format), width), [=, &target] {
                          HandPlan plan(width);
                          const BufferRef y = plan.buffer("y", 270), tail = HandPlan::slice(y, 11, 259);
                          plan.stage(LinearArgs{}, {plan.matrix(format, 1, 259, width, 0.02f, true)}, {plan.input()},
                                     {tail});
                          return Pair(plan.finish(tail), target).compare(70, {0, 1, 7, 16, 33}, rounding_of(format));
                        }});
    }
    if (format.code == BlockCode::q4_k || format.code == BlockCode::q6_k) {  // many blocks of many tokens
      checks.push_back({fmt::format("linear {}, 1280 to 6001", to_string(format)), [=, &target] {
                          HandPlan plan(1280);
                          const BufferRef y = plan.buffer("y", 6001);
                          plan.stage(LinearArgs{}, {plan.matrix(format, 1, 6001, 1280, 0.02f)}, {plan.input()}, {y});
                          return Pair(plan.finish(y), target).compare(70, {0, 9}, rounding_of(format));
                        }});
    }
    checks.push_back({fmt::format("embed {}", to_string(format)), [=, &target] {
                        HandPlan plan(1024, 0.3f, format);
                        return Pair(plan.finish(plan.input()), target).compare(70, {0, 1}, 0.0);
                      }});
  }
  prompt_products(report, target);
  many_rows(report, target);
  gated_prompts(report, target);
  for (const WeightFormat& format : {kF32, WeightFormat::plain(DType::bf16), WeightFormat::blocks(BlockCode::q8_0)}) {
    checks.push_back({fmt::format("head_linear {}", to_string(format)), [=, &target] {
                        HandPlan plan(6 * 192);
                        const BufferRef y = plan.buffer("y", 6 * 200);
                        plan.stage(HeadLinearArgs{.heads = 6, .in_stride = 192, .out_stride = 200},
                                   {plan.matrix(format, 6, 187, 128, 0.1f)}, {plan.input()}, {y});
                        return Pair(plan.finish(y), target).compare(40, {0, 1, 9}, rounding_of(format));
                      }});
  }
  report.check_all(checks);
}

// logits of `route.experts` experts, then x of `width`.
HandPlan routed(const RouteArgs& route, const WeightFormat& format, int32_t width, int32_t hidden, BufferRef& result,
                Act function = Act::silu) {
  HandPlan plan(route.experts + width);
  const int32_t k = route.top_k;
  const BufferRef logits = HandPlan::slice(plan.input(), 0, route.experts);
  const BufferRef x = HandPlan::slice(plan.input(), route.experts, width);
  const BufferRef ids = plan.buffer("ids", k, DType::i32), weights = plan.buffer("weights", k);
  const WeightId correction = route.correction ? plan.vector(route.experts, 0.0f, 0.1f) : kNone;
  plan.stage(route, {correction}, {logits}, {ids, weights});
  const BufferRef gate_up = plan.buffer("gate_up", k * 2 * hidden), act = plan.buffer("act", k * hidden);
  const BufferRef down = plan.buffer("down", k * width), sum = plan.buffer("sum", width);
  // This shard has all but the first two and the last two experts.
  const int64_t held = route.experts - 4;
  plan.stage(ExpertLinearArgs{.top_k = k, .first = 2}, {plan.matrix(format, held, 2 * hidden, width, 0.05f, true)},
             {x, ids}, {gate_up});
  plan.stage(ActArgs{.act = function, .hidden = hidden}, {}, {gate_up}, {act});
  plan.stage(ExpertLinearArgs{.top_k = k, .first = 2, .own_input = true},
             {plan.matrix(format, held, width, hidden, 0.05f)}, {act, ids}, {down});
  plan.stage(ExpertSumArgs{.top_k = k}, {}, {down, weights}, {sum});
  result = sum;
  return plan;
}

// Tiles have 128 rows of an expert, 128 or 256 of its weight's and 64 columns: many experts with few rows, few with
// many.
void prompt_experts(Report& report, const Target& target) {
  struct Case {
    RouteArgs route;
    int32_t width, hidden;
    Act act;
    int n_tokens;
  };
  const Case cases[] = {
      {{.experts = 64, .top_k = 8, .renormalize = true}, 136, 328, Act::silu, 300},
      {{.experts = 128, .top_k = 8, .renormalize = true}, 512, 96, Act::silu, 130},
      {{.experts = 6, .top_k = 4, .score = RouterScore::softmax_selected}, 264, 72, Act::gelu_tanh, 600},
      {{.experts = 9, .top_k = 1, .score = RouterScore::sigmoid}, 8, 16, Act::gelu, 300},
  };
  std::vector<Check> checks;
  for (const Case& c : cases) {
    const std::string name =
        fmt::format("experts bf16 of a prompt, {} of {}, {} to {}", c.route.top_k, c.route.experts, c.width, c.hidden);
    const auto model = [c] {
      BufferRef result;
      HandPlan plan = routed(c.route, WeightFormat::plain(DType::bf16), c.width, c.hidden, result, c.act);
      return plan.finish(result);
    };
    checks.push_back({name, [=, &target] {
                        return Pair(model(), target, true).compare(c.n_tokens, {0, 1, 7, 129}, kPromptRounding);
                      }});
    checks.push_back({name + ", launches shared",
                      [=, &target] { return same_unobserved(model(), target, c.n_tokens, {0, 1, 129}); }});
  }
  report.check_all(checks);
}

void experts(Report& report, const Target& target) {
  prompt_experts(report, target);
  struct Case {
    const char* name;
    RouteArgs route;
    int n_tokens = 24;
  };
  const Case cases[] = {
      {"softmax, 8 of 64", {.experts = 64, .top_k = 8, .renormalize = true}},
      {"softmax, 8 of 36", {.experts = 36, .top_k = 8, .renormalize = true}},
      {"softmax of the chosen, 4 of 32", {.experts = 32, .top_k = 4, .score = RouterScore::softmax_selected}},
      {"softmax of the chosen, 4 of 6", {.experts = 6, .top_k = 4, .score = RouterScore::softmax_selected}, 100},
      {"sigmoid, corrected, 8 of 256 in groups",
       {.experts = 256,
        .top_k = 8,
        .groups = 8,
        .top_groups = 4,
        .score = RouterScore::sigmoid,
        .correction = true,
        .renormalize = true,
        .scale = 2.5f}},
  };
  for (const Case& c : cases) {
    for (const WeightFormat& format : {kF32, WeightFormat::plain(DType::bf16), WeightFormat::blocks(BlockCode::q8_0)}) {
      report.check(fmt::format("experts {}, {}", to_string(format), c.name), [&] {
        BufferRef result;
        HandPlan plan = routed(c.route, format, 128, 96, result);
        return Pair(plan.finish(result), target).compare(c.n_tokens, {0, 1, 3, 5}, rounding_of(format));
      });
    }
  }
}

// q, k and v from one row; the cache as `policy` says.
HandMade attention(AttendArgs a, const KvPolicy& policy) {
  const int32_t q_cols = a.heads * a.k_dim, k_cols = a.kv_heads * a.k_dim, v_cols = a.v_in_k ? 0 : a.kv_heads * a.v_dim;
  HandPlan plan(q_cols + k_cols + v_cols, 0.7f);
  const BufferRef q = HandPlan::slice(plan.input(), 0, q_cols), k = HandPlan::slice(plan.input(), q_cols, k_cols);
  const BufferRef v = HandPlan::slice(plan.input(), q_cols + k_cols, v_cols);
  CacheNeeds needs{.policy = policy, .kv_heads = a.kv_heads, .k_dim = a.k_dim, .v_dim = a.v_in_k ? 0 : a.v_dim};
  a.group = plan.cache(needs);
  if (policy.tiled()) {
    needs.kind = CacheKind::open;
    needs.policy = policy.open_policy();
    a.open_group = plan.cache(needs);
  }
  plan.stage(AppendArgs{.group = a.group,
                        .open_group = a.open_group,
                        .kv_heads = a.kv_heads,
                        .k_dim = a.k_dim,
                        .v_dim = a.v_in_k ? 0 : a.v_dim},
             {}, {k, a.v_in_k ? BufferRef{} : v}, {});
  const BufferRef out = plan.buffer("out", a.heads * a.v_dim);
  plan.stage(a, {a.sinks ? plan.vector(a.heads, 1.0f, 1.0f) : kNone}, {q}, {out});
  return plan.finish(out);
}

void attend(Report& report, const Target& target) {
  const std::pair<AttendArgs, DType> cases[] = {
      {{.heads = 16, .kv_heads = 4, .k_dim = 128, .v_dim = 128, .scale = 0.0883883f}, DType::bf16},
      {{.heads = 8, .kv_heads = 1, .k_dim = 576, .v_dim = 512, .v_in_k = true, .scale = 0.07f}, DType::bf16},
      {{.heads = 8, .kv_heads = 8, .k_dim = 64, .v_dim = 64, .sinks = true, .window = 130, .scale = 0.125f},
       DType::bf16},
      {{.heads = 24, .kv_heads = 2, .k_dim = 64, .v_dim = 64, .scale = 0.125f, .softcap = 20.0f}, DType::bf16},
      {{.heads = 20, .kv_heads = 1, .k_dim = 128, .v_dim = 128, .window = 100, .scale = 0.09f}, DType::bf16},
      {{.heads = 4, .kv_heads = 2, .k_dim = 256, .v_dim = 256, .scale = 0.0625f, .softcap = 50.0f}, DType::f32},
      {{.heads = 10, .kv_heads = 2, .k_dim = 80, .v_dim = 80, .window = 40, .scale = 0.11f}, DType::f16},
      {{.heads = 6, .kv_heads = 2, .k_dim = 37, .v_dim = 29, .causal = false, .scale = 0.2f}, DType::f32},
      {{.heads = 3, .kv_heads = 1, .k_dim = 256, .v_dim = 256, .causal = false, .window = 100, .scale = 0.0625f},
       DType::bf16},
      {{.heads = 2, .kv_heads = 1, .k_dim = 1000, .v_dim = 1000, .scale = 0.03f}, DType::bf16},
  };
  std::vector<Check> checks;
  for (const auto& [args, dtype] : cases) {
    const std::string name = fmt::format(
        "{} heads over {} of {}, {} cache{}{}{}{}{}", args.heads, args.kv_heads, args.k_dim, dtype_name(dtype),
        args.v_in_k ? ", latent" : "", args.sinks ? ", sinks" : "", args.causal ? "" : ", both ways",
        args.window > 0 ? fmt::format(", window {}", args.window) : "", args.softcap > 0 ? ", soft cap" : "");
    checks.push_back({name, [args = args, dtype = dtype, &target] {
                        Pair pair(attention(args, KvPolicy::raw_of(dtype)), target);
                        constexpr int kTokens = 280;  // across a segment
                        // Both ways, what a token sees depends on its step.
                        if (!args.causal) return pair.compare(kTokens, {0}, 0.0);
                        return args.k_dim > 256 ? pair.compare(kTokens, {0, 1}, 0.0)
                                                : pair.compare(kTokens, {0, 1, 37}, 0.0);
                      }});
    if (dtype != DType::bf16 || args.k_dim != args.v_dim) continue;
    checks.push_back({"a prompt, " + name, [args = args, dtype = dtype, &target] {
                        Pair pair(attention(args, KvPolicy::raw_of(dtype)), target, true);
                        const std::initializer_list<int> whole = {0}, chunks = {0, 1, 37, 129};
                        return pair.compare(280, args.causal ? chunks : whole, 0.0, kBf16Rounding);
                      }});
  }
  checks.push_back({"a prompt across segments, and its last tokens", [&target] {
                      const AttendArgs args{.heads = 2, .kv_heads = 1, .k_dim = 64, .v_dim = 64, .scale = 0.125f};
                      Pair pair(attention(args, KvPolicy::raw_of(DType::bf16)), target, true, 2112);
                      return pair.compare(2100, {0, 2090}, 0.0, kBf16Rounding);
                    }});
  report.check_all(checks);
}

KvPolicy compressed(KvPolicy::Codec codec, int k_bits, int v_bits, int recent = 0, bool open_int8 = false) {
  KvPolicy policy = KvPolicy::raw_of(DType::bf16);
  policy.k = {.codec = codec, .bits = static_cast<uint8_t>(k_bits)};
  policy.v = {.codec = codec, .bits = static_cast<uint8_t>(v_bits)};
  policy.seed = 1;
  policy.recent = static_cast<uint16_t>(recent);
  policy.open_int8 = open_int8;
  return policy;
}

// Every size of heads that has codebooks, and both sides at every width.
void attend_compressed(Report& report, const Target& target) {
  constexpr std::pair<int, int> kWidths[] = {{4, 3}, {8, 3}, {3, 2}, {2, 4}, {1, 1}, {4, 8}, {8, 8}};
  const AttendArgs shapes[] = {{.heads = 4, .kv_heads = 2, .scale = 1.0f},
                               {.heads = 5, .kv_heads = 1, .sinks = true, .window = 70, .scale = 1.0f},
                               {.heads = 24, .kv_heads = 2, .scale = 1.0f, .softcap = 20.0f}};
  std::vector<Check> checks;
  size_t shape = 0;
  const auto check = [&](int32_t dim, const KvPolicy& policy, const std::string& name) {
    AttendArgs a = shapes[shape++ % std::size(shapes)];
    a.k_dim = a.v_dim = dim;
    a.scale /= std::sqrt(static_cast<float>(dim));
    checks.push_back({fmt::format("{} heads over {} of {}, {}", a.heads, a.kv_heads, dim, name), [=, &target] {
                        Pair pair(attention(a, policy), target);
                        // Across tiles, and at the most usual size across a segment.
                        return dim == 128 ? pair.compare(280, {0, 1, 37}, 0.0) : pair.compare(130, {0, 1}, 0.0);
                      }});
    if (dim != 64 && dim != 128) return;
    checks.push_back({"a prompt, " + checks.back().name, [=, &target] {
                        Pair pair(attention(a, policy), target, true);
                        return dim == 128 ? pair.compare(280, {0, 129}, 0.0, kBf16Rounding)
                                          : pair.compare(130, {0, 1}, 0.0, kBf16Rounding);
                      }});
  };
  for (const int32_t dim : kCodebookDims) {
    for (const auto& [k, v] : kWidths) {
      const std::string name = fmt::format("{} and {} bits", k, v);
      check(dim, compressed(KvPolicy::Codec::turbo, k, v), name);
      if (dim == 64 || dim == 128) {
        check(dim, compressed(KvPolicy::Codec::turbo, k, v, k % 3, true),
              name + fmt::format(", {} open of int8", k % 3));
      }
    }
    for (const auto& [k, v] : {std::pair{4, 2}, {3, 3}, {2, 4}}) {
      check(dim, compressed(KvPolicy::Codec::trellis, k, v), fmt::format("{} and {} bits by trellis", k, v));
    }
  }
  for (const int32_t dim : {128, 64, 37}) {
    check(dim, compressed(KvPolicy::Codec::int8_block, 8, 8), "q8");
    check(dim, compressed(KvPolicy::Codec::f8e4m3, 8, 8), "f8e4m3");
  }
  checks.push_back({"1100 tokens, 4 and 3 bits, 1 open of int8", [&] {
                      const AttendArgs a{.heads = 4, .kv_heads = 1, .k_dim = 64, .v_dim = 64, .scale = 0.125f};
                      return Pair(attention(a, compressed(KvPolicy::Codec::turbo, 4, 3, 1, true)), target)
                          .compare(1100, {0, 111}, 0.0);
                    }});
  checks.push_back({"a prompt across segments, 4 and 3 bits, 1 open of int8", [&] {
                      const AttendArgs a{.heads = 2, .kv_heads = 1, .k_dim = 128, .v_dim = 128, .scale = 0.09f};
                      return Pair(attention(a, compressed(KvPolicy::Codec::turbo, 4, 3, 1, true)), target, true, 2176)
                          .compare(2150, {0, 2120}, 0.0, kBf16Rounding);
                    }});
  for (const KvPolicy::Codec codec : {KvPolicy::Codec::int8_block, KvPolicy::Codec::f8e4m3}) {
    checks.push_back({fmt::format("latent, {}", codec == KvPolicy::Codec::int8_block ? "q8" : "f8e4m3"), [=, &target] {
                        const AttendArgs a{
                            .heads = 8, .kv_heads = 1, .k_dim = 576, .v_dim = 512, .v_in_k = true, .scale = 0.07f};
                        return Pair(attention(a, compressed(codec, 8, 8)), target).compare(130, {0, 1}, 0.0);
                      }});
  }
  report.check_all(checks);
}

void recurrent(Report& report, const Target& target) {
  const std::pair<DeltaArgs, int32_t> cases[] = {
      {{.key_heads = 2, .value_heads = 4, .key_dim = 128, .value_dim = 128}, 4},
      {{.key_heads = 3, .value_heads = 3, .key_dim = 50, .value_dim = 33}, 2},
  };
  for (const auto& [shape, kernel] : cases) {
    report.check(fmt::format("conv and delta, {} value heads of {}", shape.value_heads, shape.value_dim), [&] {
      const int32_t cols = 2 * shape.key_heads * shape.key_dim + shape.value_heads * shape.value_dim;
      HandPlan plan(cols + 2 * shape.value_heads);
      const BufferRef ba = HandPlan::slice(plan.input(), cols, 2 * shape.value_heads);
      const int64_t conv_bytes = int64_t{4} * (kernel - 1) * cols;
      DeltaArgs delta = shape;
      delta.state_offset = conv_bytes;
      delta.group =
          plan.cache({.kind = CacheKind::state,
                      .state_bytes = conv_bytes + int64_t{4} * shape.value_heads * shape.key_dim * shape.value_dim});
      const BufferRef mixed = plan.buffer("mixed", cols), out = plan.buffer("out", shape.value_heads * shape.value_dim);
      plan.stage(ConvArgs{.group = delta.group, .channels = cols, .kernel = kernel},
                 {plan.matrix(kF32, 1, cols, kernel, 0.5f)}, {HandPlan::slice(plan.input(), 0, cols)}, {mixed});
      plan.stage(delta, {plan.vector(shape.value_heads, 0.0f, 1.0f), plan.vector(shape.value_heads, 0.0f, 1.0f)},
                 {mixed, ba}, {out});
      const BufferRef normed = plan.buffer("normed", shape.value_heads * shape.value_dim);
      plan.stage(GatedNormArgs{.cols = shape.value_dim}, {plan.vector(shape.value_dim, 1.0f, 0.3f)},
                 {out, HandPlan::slice(mixed, 0, out.cols)}, {normed});
      return Pair(plan.finish(normed), target).compare(40, {0, 1, 7}, 0.0);
    });
  }
}

void elementwise(Report& report, const Target& target) {
  for (const Act act : {Act::silu, Act::gelu, Act::gelu_tanh, Act::relu, Act::clamped_swiglu}) {
    for (const bool gated : {true, false}) {
      report.check(fmt::format("act {}{}", static_cast<int>(act), gated ? ", gated" : ""), [&] {
        HandPlan plan(3 * 2 * 700, 3.0f);
        const BufferRef y = plan.buffer("y", (gated ? 3 : 6) * 700);
        plan.stage(ActArgs{.act = act, .gated = gated, .hidden = 700, .alpha = 1.702f, .limit = 7.0f}, {},
                   {plan.input()}, {y});
        return Pair(plan.finish(y), target).compare(50, {0, 1}, 0.0);
      });
    }
  }
  report.check("norms of 4096, and of heads in place", [&] {
    HandPlan plan(4096);
    const BufferRef a = plan.buffer("a", 4096), b = plan.buffer("b", 4096);
    plan.stage(NormArgs{.cols = 4096}, {plan.vector(4096, 1.0f, 0.3f)}, {plan.input()}, {a});
    plan.stage(NormArgs{.kind = NormKind::layer, .cols = 4096}, {plan.vector(4096, 1.0f, 0.3f, true)}, {a}, {b});
    const BufferRef heads = HandPlan::slice(b, 100, 7 * 97);
    plan.stage(NormArgs{.cols = 97}, {plan.vector(97, 1.0f, 0.3f)}, {heads}, {heads});
    return Pair(plan.finish(b), target).compare(50, {0, 1}, 0.0);
  });
  report.check("gate, add, soft cap", [&] {
    HandPlan plan(3000);
    const BufferRef x = HandPlan::slice(plan.input(), 0, 1000), g = HandPlan::slice(plan.input(), 1000, 1000);
    const BufferRef y = HandPlan::slice(plan.input(), 2000, 1000);
    plan.stage(GateArgs{}, {}, {x, g}, {x});
    plan.stage(AddArgs{.scale = 0.7f}, {}, {x}, {y});
    plan.stage(GateArgs{}, {}, {y, HandPlan::slice(plan.input(), 1500, 1)}, {y});
    plan.stage(SoftcapArgs{.cap = 1.5f}, {}, {}, {y});
    return Pair(plan.finish(plan.input()), target).compare(50, {0, 1}, 0.0);
  });
  report.check("rope, in place and from a wider head", [&] {
    HandPlan plan(8 * 128);
    const BufferRef out = plan.buffer("out", 4 * 96);
    const WeightId whole = plan.frequencies(128, 1e6), part = plan.frequencies(64, 1e4);
    plan.stage(RopeArgs{.heads = 8, .dims = 128, .in_stride = 128, .out_stride = 128}, {whole}, {plan.input()},
               {plan.input()});
    plan.stage(RopeArgs{.heads = 4, .dims = 64, .in_stride = 128, .out_stride = 96, .factors = {.factor = 1.3}}, {part},
               {HandPlan::slice(plan.input(), 32, 4 * 128)}, {out});
    return Pair(plan.finish(out), target).compare(300, {0, 50}, 0.0);
  });
}

}  // namespace

void add_kernel_suites(std::vector<Suite>& suites) {
  suites.push_back({"kernel/products", products});
  suites.push_back({"kernel/experts", experts});
  suites.push_back({"kernel/attention", attend});
  suites.push_back({"kernel/compressed", attend_compressed});
  suites.push_back({"kernel/recurrent", recurrent});
  suites.push_back({"kernel/elementwise", elementwise});
}

}  // namespace arc::test
