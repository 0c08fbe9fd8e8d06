// tape_bench check | time SHAPE [options]: correctness of the tape kernel at small size, and its share of the read
// ceiling.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include "ceiling.h"
#include "check.h"
#include "cuda_check.h"

namespace arc::tape {
namespace {

const Shape kQwen3_32b{.n_layers = 64, .dim = 5120, .n_heads = 64, .n_kv_heads = 8, .ffn = 25600, .vocab = 151936};
const Shape kQwen3_8b{.n_layers = 36, .dim = 4096, .n_heads = 32, .n_kv_heads = 8, .ffn = 12288, .vocab = 151936};
const Shape kTinyGqa8{.n_layers = 3, .dim = 512, .n_heads = 16, .n_kv_heads = 2, .ffn = 1792, .vocab = 1003};
const Shape kTinyGqa4{.n_layers = 2, .dim = 768, .n_heads = 12, .n_kv_heads = 3, .ffn = 1280, .vocab = 4099};

// SMs to use, if not all.
uint32_t n_sms_asked = 0;

uint32_t count_device_sms() {
  cudaDeviceProp properties{};
  ARC_CUDA(cudaGetDeviceProperties(&properties, 0));
  return uint32_t(properties.multiProcessorCount);
}

uint32_t count_sms() {
  return n_sms_asked ? n_sms_asked : count_device_sms();
}

double median(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return v[v.size() / 2];
}

// ---- check
int failures = 0;

// Prints and counts; a timing run prints failures only.
bool quiet = false;
void expect(bool ok, const std::string& what) {
  if (!ok || !quiet) std::printf("%s  %s\n", ok ? "ok  " : "FAIL", what.c_str());
  if (!ok) ++failures;
}

bool all_passed(const std::vector<Verdict>& verdicts) {
  return std::all_of(verdicts.begin(), verdicts.end(), [](const Verdict& v) { return v.passed(); });
}

void merge(std::vector<Verdict>& all, const std::vector<Verdict>& more) {
  if (all.empty()) all.resize(more.size());
  for (size_t i = 0; i < more.size(); ++i) {
    all[i].buffer = more[i].buffer;
    all[i].worst_ratio = std::max(all[i].worst_ratio, more[i].worst_ratio);
    all[i].worst_error = std::max(all[i].worst_error, more[i].worst_error);
    all[i].n_compared += more[i].n_compared;
    all[i].n_over += more[i].n_over;
    all[i].n_bad_tags += more[i].n_bad_tags;
  }
}

void print(const std::vector<Verdict>& verdicts) {
  for (const Verdict& v : verdicts)
    std::printf("      %-14s worst error / bound %.3f, worst error %.3g, %llu compared, %llu over, %llu wrong tags\n",
                v.buffer.c_str(), v.worst_ratio, v.worst_error, (unsigned long long)v.n_compared,
                (unsigned long long)v.n_over, (unsigned long long)v.n_bad_tags);
}

// Runs steps one launch at a time, each checked stage by stage; returns the tokens.
std::vector<int> check_steps(Machine& machine, int position, int n_steps, const std::string& name) {
  std::vector<Verdict> all;
  std::vector<int> tokens{7};
  machine.reset(tokens[0], position);
  for (int k = 0; k < n_steps; ++k) {
    machine.run(1);
    merge(all, check_last_step(machine, tokens.back()));
    const TapeStage& head = machine.tape().stages.end()[-2];
    std::vector<float> logits(head.product.n_out);
    ARC_CUDA(cudaMemcpy(logits.data(), reinterpret_cast<void*>(head.writes[kVector].address), logits.size() * 4,
                        cudaMemcpyDeviceToHost));
    const int best = int(std::max_element(logits.begin(), logits.end()) - logits.begin());
    if (best != machine.token_of(k)) expect(false, name + ": token is the argmax of the logits");
    tokens.push_back(machine.token_of(k));
  }
  expect(all_passed(all), name + ": every buffer within its bound");
  print(all);
  return tokens;
}

void expect_tokens(const Machine& machine, const std::vector<int>& want, const std::string& what) {
  size_t n_equal = 0;
  for (size_t k = 1; k < want.size(); ++k) n_equal += machine.token_of(int(k) - 1) == want[k];
  expect(n_equal + 1 == want.size(),
         what + ": " + std::to_string(n_equal) + " of " + std::to_string(want.size() - 1) + " tokens equal");
}

// Only the appended rows of the cache may change: 32 chunks of 16 bytes per token, layer and kv head.
void check_cache_writes(Machine& machine, int position, int n_steps, const std::string& name) {
  const uint64_t n = machine.tape().slab_bytes.cache;
  std::vector<char> before(n), after(n);
  machine.reset(7, position);
  ARC_CUDA(cudaMemcpy(before.data(), reinterpret_cast<void*>(machine.slabs().cache), n, cudaMemcpyDeviceToHost));
  machine.run(n_steps);
  ARC_CUDA(cudaMemcpy(after.data(), reinterpret_cast<void*>(machine.slabs().cache), n, cudaMemcpyDeviceToHost));
  uint64_t changed = 0;
  for (uint64_t i = 0; i < n; i += 16) changed += std::memcmp(&before[i], &after[i], 16) != 0;
  const Shape& s = machine.tape().shape;
  const uint64_t want = uint64_t(n_steps) * s.n_layers * s.n_kv_heads * 32;
  expect(changed == want,
         name + ": " + std::to_string(changed) + " cache chunks changed, " + std::to_string(want) + " appended");
}

void check_stop(Machine& machine, const std::vector<int>& want, int position) {
  machine.reset(7, position);
  machine.start(int(want.size()) - 1);
  while (machine.token_of(3) < 0) {
  }
  machine.ask_to_stop(true);
  machine.finish();
  machine.ask_to_stop(false);
  const int n_done = machine.state().step;
  machine.run(int(want.size()) - 1 - n_done);
  expect_tokens(machine, want, "stopped by the host after " + std::to_string(n_done) + " steps, then continued");
}

// A changed weight must be noticed: one bf16 of the last layer's down matrix, in the packed copy only.
void check_mutation(Machine& machine, int position) {
  const TapeStage& down = machine.tape().stages.end()[-3];
  const uint64_t address = down.weights[kMatrix].address + 2 * 777;
  uint16_t good = 0, bad = 0x4080;  // 4.0
  ARC_CUDA(cudaMemcpy(&good, reinterpret_cast<void*>(address), 2, cudaMemcpyDeviceToHost));
  ARC_CUDA(cudaMemcpy(reinterpret_cast<void*>(address), &bad, 2, cudaMemcpyHostToDevice));
  machine.reset(7, position);
  machine.run(1);
  expect(!all_passed(check_last_step(machine, 7)), "a single changed weight is noticed");
  ARC_CUDA(cudaMemcpy(reinterpret_cast<void*>(address), &good, 2, cudaMemcpyHostToDevice));
}

void check_shape(const Shape& shape, const std::string& name, uint32_t n_sms, int position, int n_steps, int n_loop) {
  BuildOptions options{.n_sms = n_sms, .max_tokens = uint32_t(position + n_loop + 64) / 64 * 64, .keep_logits = true};
  options.reuse_buffers = false;
  std::vector<int> tokens;
  {
    Machine machine(shape, options);
    std::printf("%s: %u layers, dim %u, heads %u/%u, ffn %u, vocab %u, from position %d\n", name.c_str(),
                shape.n_layers, shape.dim, shape.n_heads, shape.n_kv_heads, shape.ffn, shape.vocab, position);
    tokens = check_steps(machine, position, n_steps, name);
    machine.reset(7, position);
    machine.run(n_steps);
    expect_tokens(machine, tokens, "one launch of " + std::to_string(n_steps) + " steps");
    tokens.resize(1);
    machine.reset(7, position);
    machine.run(n_loop);
    for (int k = 0; k < n_loop; ++k) tokens.push_back(machine.token_of(k));
    std::vector<Verdict> last = check_last_step(machine, tokens.end()[-2]);
    expect(all_passed(last), "last of " + std::to_string(n_loop) + " steps of one launch");
    if (!all_passed(last)) print(last);
    check_cache_writes(machine, position, n_loop, name);
    check_mutation(machine, position);
  }
  options.reuse_buffers = true;
  options.keep_logits = false;
  Machine machine(shape, options);
  machine.reset(7, position);
  machine.run(n_loop);
  expect_tokens(machine, tokens, "buffers reused from layer to layer");
  if (n_loop > 32) check_stop(machine, tokens, position);
}

int run_checks(bool large, bool small) {
  const uint32_t n_sms = count_sms();
  if (small) {
    check_shape(kTinyGqa8, "tiny", n_sms, 61, 2, 4);
    return failures != 0;
  }
  check_shape(kTinyGqa8, "tiny, 8 queries a kv head", n_sms, 0, 3, 100);
  check_shape(kTinyGqa8, "tiny, 8 queries a kv head", n_sms, 61, 6, 200);
  check_shape(kTinyGqa4, "tiny, 4 queries a kv head", n_sms, 1000, 28, 90);
  check_shape(kTinyGqa8, "tiny, long context", n_sms, 4090, 8, 40);
  if (large) {
    Shape wide = kQwen3_32b;
    wide.n_layers = 2;
    check_shape(wide, "Qwen3-32B, 2 layers", n_sms, 300, 3, 40);
    wide = kQwen3_8b;
    wide.n_layers = 2;
    check_shape(wide, "Qwen3-8B, 2 layers", n_sms, 4093, 4, 40);
  }
  std::printf("%s\n", failures ? "FAILED" : "all checks passed");
  return failures != 0;
}

// ---- time
constexpr int kRepeats = 5, kSteps = 32;

// Context: the longest that the timed steps reach.
double time_once(Machine& machine, int context) {
  machine.reset(7, context - kSteps);
  const double ms = machine.run(kSteps);
  expect(machine.state().step == kSteps, "all steps ran");
  return ms / kSteps;
}

double share_of(const Machine& machine, int context, double ms, double ceiling) {
  return bytes_per_step(machine.tape(), context - kSteps / 2) / ms / 1e6 / ceiling;
}

double print_ceiling(const Machine& machine, const std::vector<double>& grid_stride, const std::vector<double>& ring) {
  const double ceiling = std::max(median(grid_stride), median(ring));
  std::printf("  read ceiling %.0f GB/s (grid-stride %.0f, ring %.0f) over %.1f GB\n", ceiling, median(grid_stride),
              median(ring), machine.tape().slab_bytes.weights / 1e9);
  return ceiling;
}

// Readers and kernel take turns, so that all see the same state of the board.
int run_timing(const Shape& shape, const std::string& name, const PassGroups& passes, uint64_t alignment) {
  quiet = true;
  const uint32_t n_sms = count_sms();
  const std::vector<int> contexts{256, 4096};
  Machine machine(shape, {.n_sms = n_sms, .max_tokens = 4096, .pass_groups = passes, .alignment = alignment});
  const uint64_t weights = machine.slabs().weights, n_weight_bytes = machine.tape().slab_bytes.weights;
  std::vector<double> grid_stride, ring;
  std::vector<std::vector<double>> times(contexts.size());
  time_once(machine, 256);
  for (int i = 0; i < kRepeats; ++i) {
    grid_stride.push_back(read_rate(Reader::grid_stride, weights, n_weight_bytes, count_device_sms()));
    ring.push_back(read_rate(Reader::ring, weights, n_weight_bytes, count_device_sms()));
    for (size_t c = 0; c < contexts.size(); ++c) times[c].push_back(time_once(machine, contexts[c]));
  }
  std::printf("%s\n", name.c_str());
  const double ceiling = print_ceiling(machine, grid_stride, ring);
  for (size_t c = 0; c < contexts.size(); ++c) {
    const double ms = median(times[c]), share = share_of(machine, contexts[c], ms, ceiling);
    std::printf("  context %4d: %.3f ms/token (%.3f to %.3f), %.1f tok/s, %.0f GB/s, %.1f%% of the ceiling\n",
                contexts[c], ms, *std::min_element(times[c].begin(), times[c].end()),
                *std::max_element(times[c].begin(), times[c].end()), 1e3 / ms, share * ceiling, 100 * share);
  }
  return failures != 0;
}

// ---- plan
// What plan_tape wrote: a shape lowered by Arc, and the reference executor's greedy tokens and logits, if it made any.
struct LoweredPlan {
  Shape shape;
  std::vector<int32_t> tokens;
  std::vector<std::vector<float>> logits;
};

template <class T>
T read_value(std::ifstream& in) {
  T value{};
  in.read(reinterpret_cast<char*>(&value), sizeof value);
  return value;
}

LoweredPlan read_plan(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  LoweredPlan plan;
  Shape& s = plan.shape;
  for (uint32_t* n : {&s.n_layers, &s.dim, &s.n_heads, &s.n_kv_heads, &s.ffn, &s.vocab}) *n = read_value<uint32_t>(in);
  const uint32_t n_steps = read_value<uint32_t>(in);
  s.eps = read_value<float>(in);
  s.rope_theta = read_value<float>(in);
  for (uint32_t i = 0; i < n_steps; ++i) {
    plan.tokens.push_back(read_value<int32_t>(in));
    plan.logits.emplace_back(s.vocab);
    in.read(reinterpret_cast<char*>(plan.logits.back().data()), s.vocab * 4);
  }
  if (!in) throw std::runtime_error("cannot read " + path);
  return plan;
}

// About 5 activations per layer are rounded to bf16, each with an error of 2^-9 at most (2^-10.8 rms), and errors of
// earlier roundings go along: the relative error of the logits stays under twice their root sum of squares.
double logits_bound(uint32_t n_layers) {
  return 2 * std::sqrt(5.0 * n_layers) / 512;
}

// The kernel against Arc's reference executor: f32 there, bf16 activations here. Stops where the tokens part.
int run_plan(const LoweredPlan& plan) {
  Machine machine(plan.shape, {.n_sms = count_sms(), .max_tokens = 4096, .reuse_buffers = true, .keep_logits = true});
  machine.reset(7, 0);
  double worst = 0;
  size_t n_equal = 0;
  std::vector<float> got(plan.shape.vocab);
  for (size_t k = 0; k < plan.tokens.size(); ++k) {
    machine.run(1);
    const TapeStage& head = machine.tape().stages.end()[-2];
    ARC_CUDA(cudaMemcpy(got.data(), reinterpret_cast<void*>(head.writes[kVector].address), got.size() * 4,
                        cudaMemcpyDeviceToHost));
    double error = 0, size = 0;
    for (size_t i = 0; i < got.size(); ++i) {
      error += std::pow(double(got[i]) - plan.logits[k][i], 2);
      size += std::pow(double(plan.logits[k][i]), 2);
    }
    worst = std::max(worst, std::sqrt(error / size));
    if (machine.token_of(int(k)) != plan.tokens[k]) break;
    ++n_equal;
  }
  const double bound = logits_bound(plan.shape.n_layers);
  std::printf(
      "reference executor: %zu of %zu greedy tokens equal, relative error of the logits at most %.2e, bound %.2e\n",
      n_equal, plan.tokens.size(), worst, bound);
  expect(n_equal == plan.tokens.size(), "tokens of the reference executor");
  expect(worst <= bound, "logits of the reference executor");
  return failures != 0;
}

// ---- probe
double probe_once(Machine& machine, int context, const ProbeArgs& probe) {
  machine.reset(7, context - kSteps);
  return machine.run_probe(kSteps, probe) / kSteps;
}

// Times with the waits of one kind of stage left out.
void probe_waits(Machine& machine, int context, double ceiling) {
  const auto product = [](const TapeStage& s, Epilogue e) { return s.op == Op::product && s.product.epilogue == e; };
  struct Case {
    const char* name;
    std::function<uint8_t(const TapeStage&)> bits;
  };
  const uint32_t ffn = machine.tape().shape.ffn;
  const Case cases[] = {
      {"nothing left out", [](const TapeStage&) { return 0; }},
      {"x -> qkv", [&](const TapeStage& s) { return product(s, Epilogue::store) ? kSkipAll : 0; }},
      {"q, k, v -> attend", [](const TapeStage& s) { return s.op == Op::attend ? kSkipVector : 0; }},
      {"parts -> merge", [](const TapeStage& s) { return s.op == Op::attend ? kSkipParts : 0; }},
      {"attended -> o",
       [&](const TapeStage& s) { return product(s, Epilogue::add_residual) && s.product.n_in != ffn ? kSkipAll : 0; }},
      {"all three of attention",
       [&](const TapeStage& s) {
         return s.op == Op::attend || (product(s, Epilogue::add_residual) && s.product.n_in != ffn) ? kSkipAll : 0;
       }},
      {"z -> gate, up", [&](const TapeStage& s) { return product(s, Epilogue::silu_mul) ? kSkipAll : 0; }},
      {"h -> down",
       [&](const TapeStage& s) { return product(s, Epilogue::add_residual) && s.product.n_in == ffn ? kSkipAll : 0; }},
      {"all", [](const TapeStage&) { return kSkipAll; }},
      {"all, nor vectors read", [](const TapeStage&) { return kSkipAll | kSkipLoads; }},
      {"all, no arithmetic", [](const TapeStage&) { return kSkipAll | kSkipMath; }},
      {"all, neither", [](const TapeStage&) { return kSkipAll | kSkipLoads | kSkipMath; }}};
  for (const Case& c : cases) {
    machine.set_skips(c.bits);
    std::vector<double> all, in_l2;
    for (int i = 0; i < 2; ++i) {
      all.push_back(probe_once(machine, context, {}));
      in_l2.push_back(probe_once(machine, context, {.weight_mask = (1ull << 23) - 1}));
    }
    std::printf("  context %4d, without waits %-24s %.3f ms/token, %.1f%%; weights from L2 %.3f ms/token\n", context,
                c.name, median(all), 100 * share_of(machine, context, median(all), ceiling), median(in_l2));
  }
  machine.set_skips([](const TapeStage&) { return 0; });
}

// How far apart the SMs are when they finish a kind of stage: lateness against the mean, by SM, averaged over layers.
void print_lateness(const Machine& machine, const std::vector<uint64_t>& trace, size_t kind, const char* name) {
  const size_t n_stages = machine.tape().stages.size(), n_sms = count_sms(), n_layers = machine.tape().shape.n_layers;
  const auto mark = [&](size_t sm, size_t stage, Mark m) {
    return trace[(sm * n_stages + stage) * kMarks + size_t(m)];
  };
  std::vector<double> late(n_sms, 0);
  double worst = 0;
  for (size_t layer = 1; layer < n_layers; ++layer) {
    const size_t stage = 1 + 5 * layer + kind;
    const uint64_t base = mark(0, stage, Mark::end_ns);
    double mean = 0, largest = -1e30;
    for (size_t sm = 0; sm < n_sms; ++sm) mean += double(int64_t(mark(sm, stage, Mark::end_ns) - base)) / n_sms;
    for (size_t sm = 0; sm < n_sms; ++sm) {
      const double d = double(int64_t(mark(sm, stage, Mark::end_ns) - base)) - mean;
      late[sm] += d / (n_layers - 1);
      largest = std::max(largest, d);
    }
    worst += largest / (n_layers - 1);
  }
  std::vector<size_t> order(n_sms);
  for (size_t i = 0; i < n_sms; ++i) order[i] = i;
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return late[a] < late[b]; });
  std::printf("      %s: last SM of a layer %.1f us after the mean; SM(id) lateness:", name, worst / 1e3);
  for (size_t i = 0; i < n_sms; ++i)
    if (i < 12 || i >= n_sms - 12 || i % 12 == 0)
      std::printf(" %zu(%d)%.1f", order[i], int(mark(order[i], 6 + kind, Mark::sm_id)), late[order[i]] / 1e3);
  std::printf("\n");
}

// Prints, per kind of stage, means over SMs and layers in microseconds after consumer warp 0 came to the layer.
void probe_trace(Machine& machine, int context) {
  const size_t n_stages = machine.tape().stages.size(), n_sms = count_sms();
  std::vector<uint64_t> trace(n_sms * n_stages * kMarks);
  uint64_t* device = nullptr;
  ARC_CUDA(cudaMalloc(&device, trace.size() * 8));
  ARC_CUDA(cudaMemset(device, 0, trace.size() * 8));
  const double ms = probe_once(machine, context, {.trace = device});
  ARC_CUDA(cudaMemcpy(trace.data(), device, trace.size() * 8, cudaMemcpyDeviceToHost));
  ARC_CUDA(cudaFree(device));
  const auto mark = [&](size_t sm, size_t stage, Mark m) {
    return trace[(sm * n_stages + stage) * kMarks + size_t(m)];
  };
  const char* names[] = {
      "begin", "vector", "end",  "wait v",  "wait t",  "e begin", "scale",
      "sums",  "publ",   "gath", "p begin", "p fresh", "merged"};  // end_ns and sm_id have their own table
  // Cycles per microsecond: the same two moments on both clocks.
  const size_t first = 6, last = 1 + 5 * (machine.tape().shape.n_layers - 1);
  const double cycles_per_us = 1e3 * double(mark(0, last, Mark::consumer_end) - mark(0, first, Mark::consumer_end)) /
                               double(mark(0, last, Mark::end_ns) - mark(0, first, Mark::end_ns));
  std::printf("  trace at context %d, %.3f ms/token with tracing; us, %.3f GHz\n      %-8s", context, ms,
              cycles_per_us / 1e3, "stage");
  for (const char* n : names) std::printf("%9s", n);
  std::printf("\n");
  const char* stages[] = {"qkv", "attend", "o", "gate_up", "down"};
  for (size_t kind = 0; kind < 5; ++kind) {
    std::printf("      %-8s", stages[kind]);
    for (uint32_t m = 0; m < uint32_t(Mark::end_ns); ++m) {
      double sum = 0, n = 0;
      for (size_t sm = 0; sm < n_sms; ++sm)
        for (size_t layer = 1; layer < machine.tape().shape.n_layers; ++layer) {
          const size_t stage = 1 + 5 * layer + kind;
          const uint64_t base = mark(sm, 1 + 5 * layer, Mark::consumer_begin), value = mark(sm, stage, Mark(m));
          const bool duration = Mark(m) == Mark::vector_wait || Mark(m) == Mark::tile_wait;
          if (value == 0) continue;
          sum += duration ? double(value) : double(value) - double(base);
          ++n;
        }
      std::printf("%9.2f", n ? sum / n / cycles_per_us : 0.0);
    }
    std::printf("\n");
  }
  for (size_t kind : {0, 2, 3, 4}) print_lateness(machine, trace, kind, stages[kind]);
}

int run_probe(const Shape& shape, const std::string& name, const PassGroups& passes, uint64_t alignment) {
  const uint32_t n_sms = count_sms();
  Machine machine(shape, {.n_sms = n_sms, .max_tokens = 4096, .pass_groups = passes, .alignment = alignment});
  const uint64_t weights = machine.slabs().weights, n_weight_bytes = machine.tape().slab_bytes.weights;
  std::vector<double> grid_stride, ring;
  for (int i = 0; i < 3; ++i) {
    grid_stride.push_back(read_rate(Reader::grid_stride, weights, n_weight_bytes, count_device_sms()));
    ring.push_back(read_rate(Reader::ring, weights, n_weight_bytes, count_device_sms()));
  }
  std::printf("%s, probe\n", name.c_str());
  const double ceiling = print_ceiling(machine, grid_stride, ring);
  for (int context : {256, 4096}) {
    probe_waits(machine, context, ceiling);
    probe_trace(machine, context);
  }
  return 0;
}

// The kernel as a mere reader: no waits, no vectors, no arithmetic.
int run_stream(const Shape& shape, const std::string& name, const PassGroups& passes, uint64_t alignment) {
  Machine machine(shape, {.n_sms = count_sms(), .max_tokens = 4096, .pass_groups = passes, .alignment = alignment});
  const uint64_t weights = machine.slabs().weights, n_weight_bytes = machine.tape().slab_bytes.weights;
  machine.set_skips([](const TapeStage&) { return kSkipAll | kSkipLoads | kSkipMath; });
  std::vector<double> ring, short_context, long_context;
  for (int i = 0; i < 3; ++i) {
    ring.push_back(read_rate(Reader::ring, weights, n_weight_bytes, count_device_sms()));
    short_context.push_back(probe_once(machine, 256, {}));
    long_context.push_back(probe_once(machine, 4096, {}));
  }
  std::printf("%s, streaming only: %.1f%% at context 256, %.1f%% at 4096 of %.0f GB/s\n", name.c_str(),
              100 * share_of(machine, 256, median(short_context), median(ring)),
              100 * share_of(machine, 4096, median(long_context), median(ring)), median(ring));
  return 0;
}

int usage() {
  std::printf(
      "tape_bench check [large|small]\n"
      "tape_bench plan|time FILE.tape   (written by plan_tape from a model's config)\n"
      "tape_bench time|probe|stream 32b|8b [sms=N] [align=KIB] [qkv=N] [out=N] [gate_up=N] [down=N] [head=N]   (row "
      "groups per pass)\n");
  return 2;
}

int run(int argc, char** argv) {
  const std::vector<std::string> args(argv + 1, argv + argc);
  const auto has = [&](const char* word) { return std::find(args.begin(), args.end(), word) != args.end(); };
  const auto number = [&](const std::string& key) {
    for (const std::string& a : args)
      if (a.rfind(key + "=", 0) == 0) return uint32_t(std::stoul(a.substr(key.size() + 1)));
    return 0u;
  };
  n_sms_asked = number("sms");
  if (has("check")) return run_checks(has("large"), has("small"));
  const PassGroups passes{.qkv = number("qkv"),
                          .out = number("out"),
                          .gate_up = number("gate_up"),
                          .down = number("down"),
                          .head = number("head")};
  const uint64_t alignment = number("align") ? uint64_t(number("align")) << 10 : 1024;
  const auto plan_file =
      std::find_if(args.begin(), args.end(), [](const std::string& a) { return a.ends_with(".tape"); });
  if (has("plan") && plan_file != args.end()) return run_plan(read_plan(*plan_file));
  if (has("time") && plan_file != args.end())
    return run_timing(read_plan(*plan_file).shape, *plan_file, passes, alignment);
  const bool large = has("32b");
  if (!large && !has("8b")) return usage();
  const Shape& shape = large ? kQwen3_32b : kQwen3_8b;
  const std::string name = large ? "Qwen3-32B shape" : "Qwen3-8B shape";
  if (has("time")) return run_timing(shape, name, passes, alignment);
  if (has("stream")) return run_stream(shape, name, passes, alignment);
  if (has("probe")) return run_probe(shape, name, passes, alignment);
  return usage();
}

}  // namespace
}  // namespace arc::tape

int main(int argc, char** argv) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  return arc::tape::run(argc, argv);
}
