// Speed of decode attention on the CPU for every cache type: one sequence, Qwen3-0.6B's shape, beside what the
// machine's threads can read. Forms of layers and reads are measured in turn, so that the machine's load hits all
// alike; a preset's figure is the mean over the model's layers.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <functional>
#include <immintrin.h>
#include <memory>
#include <string>
#include <vector>

#include "base/counter_rng.h"
#include "exec/thread_pool.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/op_scratch.h"
#include "kernels/cpu/team.h"
#include "quant/turbo.h"
#include "tensor/tensor.h"

namespace arc {
namespace {

constexpr int kHeads = 16, kKvHeads = 8, kDim = 128, kLayers = 28;
constexpr int64_t kBytes =
    int64_t{256} << 20;  // of caches that a pass walks over, so that no processor cache holds them

double seconds(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

struct Times {
  std::vector<double> busy, wall;
};

struct Kind {
  std::string name;
  KvPolicy policy;
  std::unique_ptr<TurboCodec> k, v;
  KvView view;
  std::shared_ptr<Storage> bytes;  // layers one after the other
  Times attend, append;
};

KvView view_of(const KvPolicy& policy) {
  const KvLayout at = kv_layout(policy, kDim, kDim);
  return {.policy = policy,
          .block_bytes = kKvHeads * at.head_bytes,
          .head_bytes = at.head_bytes,
          .v_offset_bytes = at.v_offset,
          .tokens_per_block = kTileTokens,
          .k_scales_bytes = at.k_scales,
          .v_scales_bytes = at.v_scales};
}

Kind make_kind(std::string name, const KvPolicy& policy) {
  Kind kind{.name = std::move(name), .policy = policy, .view = view_of(policy)};
  if (policy.tiled()) {
    kind.k = std::make_unique<TurboCodec>(KvRole::key, kDim, policy.k, 1);
    kind.v = std::make_unique<TurboCodec>(KvRole::value, kDim, policy.v, 1);
  }
  kind.view.k_turbo = kind.k.get();
  kind.view.v_turbo = kind.v.get();
  return kind;
}

// One head's keys and values, encoded as the policy says, repeated everywhere.
void fill(Kind& kind, int64_t blocks) {
  std::vector<std::byte> head(static_cast<size_t>(kind.view.head_bytes));
  KvView view = kind.view;
  view.data = head.data();
  std::vector<float> rows(kTileTokens * kDim);
  for (const KvRole role : {KvRole::key, KvRole::value}) {
    for (size_t i = 0; i < rows.size(); ++i) {
      rows[i] = static_cast<float>(static_cast<int32_t>(philox(1, i, 0).word[0])) * 0x1p-30f;
    }
    const KvTile tile = kv_tile(view, 0, 0, kDim, role);
    if (kind.policy.tiled()) {
      seal({.raw = DType::f32, .dim = kDim, .data = reinterpret_cast<std::byte*>(rows.data())}, tile);
    } else {
      for (int t = 0; t < kTileTokens; ++t) store_row(tile, t, rows.data() + t * kDim);
    }
  }
  kind.bytes = Storage::allocate(static_cast<size_t>(blocks * kind.view.block_bytes), {});
  for (size_t at = 0; at < kind.bytes->size_bytes(); at += head.size()) {
    std::memcpy(kind.bytes->data() + at, head.data(), head.size());
  }
}

__attribute__((target("avx512f"))) float read_all(const std::byte* p, int64_t bytes) {
  __m512i sum[4] = {};
  for (int64_t i = 0; i + 256 <= bytes; i += 256) {
    for (int j = 0; j < 4; ++j) sum[j] = _mm512_xor_si512(sum[j], _mm512_loadu_si512(p + i + 64 * j));
  }
  alignas(64) float lanes[16];
  _mm512_store_si512(lanes, _mm512_xor_si512(_mm512_xor_si512(sum[0], sum[1]), _mm512_xor_si512(sum[2], sum[3])));
  return lanes[0];
}

class Bench {
 public:
  explicit Bench(int threads) : pool_(threads, [this](const Team& team) { work_(team); }), threads_(threads) {}

  // Attention of one token over `context` in each layer; wall and processor seconds of one layer.
  void attend(Kind& kind, cpu::Isa isa, int64_t context, int64_t layers) {
    const int64_t tiles = context / kTileTokens;
    std::vector<int32_t> table(static_cast<size_t>(tiles));
    for (int64_t i = 0; i < tiles; ++i) table[i] = static_cast<int32_t>(i);
    // The token is the last of its tile, which for tiled kinds is open, as is the one before.
    const auto position = static_cast<int32_t>(context - 1);
    const int32_t q_start[2] = {0, 1}, seq_lens[1] = {position + 1}, open_table[1] = {0};
    std::vector<int32_t> opens(static_cast<size_t>(tiles), open_table[0]);
    std::vector<float> q(kHeads * kDim), out(q.size());
    for (size_t i = 0; i < q.size(); ++i) q[i] = static_cast<float>(static_cast<int>(i * 7919 % 2003) - 1001) * 1e-3f;
    StepInputs step{.n_seqs = 1, .n_tokens = 1, .positions = &position, .q_start = q_start, .seq_lens = seq_lens};
    step.groups[0] = {.block_table = table.data(), .table_stride = static_cast<int32_t>(tiles)};
    step.groups[1] = {.block_table = opens.data(), .table_stride = static_cast<int32_t>(tiles)};
    const TensorView read{.data = q.data(), .rows = 1, .cols = kHeads * kDim, .row_stride = kHeads * kDim};
    const TensorView write{.data = out.data(), .rows = 1, .cols = kHeads * kDim, .row_stride = kHeads * kDim};
    const Args args = AttendArgs{.open_group = kind.policy.tiled() ? 1 : -1,
                                 .heads = kHeads,
                                 .kv_heads = kKvHeads,
                                 .k_dim = kDim,
                                 .v_dim = kDim,
                                 .scale = 0.088f};
    std::vector<std::byte> scratch(static_cast<size_t>(cpu::op_scratch_bytes(args, threads_)));
    KvView view = kind.view, open_view = view_of(kind.policy.open_policy());
    std::vector<std::byte> open(static_cast<size_t>(open_view.block_bytes));
    open_view.data = open.data();
    run(kind.attend, layers, [&](const Team& team) {
      for (int64_t l = 0; l < layers; ++l) {
        KvView here = view;
        here.data = kind.bytes->data() + l * tiles * view.block_bytes;
        cpu::kernels(isa)[args.index()](args, {.reads = &read,
                                               .writes = &write,
                                               .step = &step,
                                               .kv = here,
                                               .open = open_view,
                                               .team = team,
                                               .scratch = scratch.data()});
        cpu::sync(team);
      }
    });
  }

  // A tile of tokens, written and, of tiled kinds, packed; wall and processor seconds of one vector.
  void append(Kind& kind, cpu::Isa isa) {
    constexpr int64_t kCols = kKvHeads * kDim, kRepeats = 4;
    std::vector<float> rows(kTileTokens * kCols);
    for (size_t i = 0; i < rows.size(); ++i) {
      rows[i] = static_cast<float>(static_cast<int32_t>(philox(2, i, 0).word[0])) * 0x1p-30f;
    }
    std::vector<int32_t> positions(kTileTokens);
    std::vector<int64_t> slots(kTileTokens);
    for (int i = 0; i < kTileTokens; ++i) slots[i] = positions[i] = i;
    const int32_t q_start[2] = {0, kTileTokens}, seq_lens[1] = {kTileTokens}, table[1] = {0};
    StepInputs step{
        .n_seqs = 1, .n_tokens = kTileTokens, .positions = positions.data(), .q_start = q_start, .seq_lens = seq_lens};
    step.groups[0] = step.groups[1] = {.block_table = table, .table_stride = 1, .slots = slots.data()};
    const TensorView read{.data = rows.data(), .rows = kTileTokens, .cols = kCols, .row_stride = kCols};
    const TensorView reads[2] = {read, read};
    const Args args =
        AppendArgs{.open_group = kind.policy.tiled() ? 1 : -1, .kv_heads = kKvHeads, .k_dim = kDim, .v_dim = kDim};
    KvView here = kind.view;
    here.data = kind.bytes->data();
    KvView open_view = view_of(kind.policy.open_policy());
    std::vector<std::byte> open(static_cast<size_t>(open_view.block_bytes));
    open_view.data = open.data();
    run(kind.append, kRepeats * 2 * kKvHeads * kTileTokens, [&](const Team& team) {
      for (int64_t i = 0; i < kRepeats; ++i) {
        cpu::kernels(isa)[args.index()](args,
                                        {.reads = reads, .step = &step, .kv = here, .open = open_view, .team = team});
        cpu::sync(team);
      }
    });
  }

  // The same bytes, only read.
  void read(Kind& ceiling, const Kind& of, int64_t context, int64_t layers) {
    const int64_t bytes = context / kTileTokens * of.view.block_bytes * layers;
    run(ceiling.attend, layers, [&](const Team& team) {
      constexpr int64_t kChunk = 128 << 10;
      for (int64_t begin = 0, end = 0; cpu::claim(team, bytes / kChunk, 1, begin, end);) {
        sink_ = sink_ + read_all(of.bytes->data() + begin * kChunk, kChunk);
      }
      cpu::sync(team);
    });
  }

 private:
  // Seconds of one of `count` equal parts of the work.
  void run(Times& times, int64_t count, std::function<void(const Team&)> work) {
    work_ = std::move(work);
    const double wall = seconds(CLOCK_MONOTONIC), busy = seconds(CLOCK_PROCESS_CPUTIME_ID);
    pool_.run();
    const auto n = static_cast<double>(count);
    times.wall.push_back((seconds(CLOCK_MONOTONIC) - wall) / n);
    times.busy.push_back((seconds(CLOCK_PROCESS_CPUTIME_ID) - busy) / threads_ / n);
  }

  std::function<void(const Team&)> work_;
  ThreadPool pool_;
  int threads_;
  volatile float sink_ = 0.0f;
};

double median(std::vector<double> times) {
  const auto middle = times.begin() + static_cast<ptrdiff_t>(times.size() / 2);
  std::nth_element(times.begin(), middle, times.end());
  return *middle;
}

// One form of a layer: keys of `k` bits and values of `v`.
Kind coded(std::string name, KvPolicy::Codec codec, int k, int v) {
  const auto side = [&](int bits) { return KvPolicy::Side{.codec = codec, .bits = static_cast<uint8_t>(bits)}; };
  KvPolicy policy{.k = side(k), .v = side(v), .raw = DType::bf16, .seed = 1};
  if (policy.tiled()) {
    policy.recent = 1;
    policy.open_int8 = true;
  }
  return make_kind(std::move(name), policy);
}

// In the order of kTypes' indices.
std::vector<Kind> kinds() {
  using Codec = KvPolicy::Codec;
  std::vector<Kind> all;
  all.push_back(make_kind("bf16", KvPolicy::raw_of(DType::bf16)));
  all.push_back(coded("int8", Codec::int8_block, 8, 8));
  all.push_back(coded("f8e4m3", Codec::f8e4m3, 8, 8));
  all.push_back(coded("K4/V3", Codec::turbo, 4, 3));
  all.push_back(coded("K8/V3", Codec::turbo, 8, 3));
  all.push_back(coded("K3/V3", Codec::turbo, 3, 3));
  all.push_back(coded("K3/V2", Codec::turbo, 3, 2));
  all.push_back(coded("K8/V2", Codec::turbo, 8, 2));
  all.push_back(coded("T3/T3", Codec::trellis, 3, 3));
  all.push_back(coded("T4/T4", Codec::trellis, 4, 4));
  return all;
}

// A cache type: the form of most layers, and that of `others` of them.
struct Type {
  const char* name;
  size_t most, other;
  int others;
};
constexpr Type kTypes[] = {{"auto", 0, 0, 0},       {"q8", 1, 1, 0},           {"f8e4m3", 2, 2, 0},
                           {"turboquant", 3, 4, 2}, {"turboquant-3", 5, 4, 4}, {"turboquant-aggressive", 6, 7, 4}};

void measure(Bench& bench, cpu::Isa isa, int64_t context, int rounds, int threads) {
  std::vector<Kind> all = kinds();
  const int64_t tiles = context / kTileTokens;
  const int64_t layers = std::max<int64_t>(1, kBytes / (tiles * all[0].view.block_bytes));
  for (Kind& kind : all) fill(kind, tiles * layers);
  Kind ceiling;
  for (int i = 0; i < rounds; ++i) {
    bench.read(ceiling, all[0], context, layers);
    for (Kind& kind : all) bench.attend(kind, isa, context, layers);
    for (Kind& kind : all) bench.append(kind, isa);
  }
  const auto mean = [](const Type& type, const auto& of) {
    return ((kLayers - type.others) * of(type.most) + type.others * of(type.other)) / kLayers;
  };
  const auto time = [&](size_t i) { return median(all[i].attend.busy); };
  const auto bytes = [&](size_t i) { return static_cast<double>(tiles * all[i].view.block_bytes); };
  const double read = median(ceiling.attend.busy) / bytes(0);  // seconds a byte
  std::printf("%lld tokens, %s, read ceiling %.1f GB/s\n", static_cast<long long>(context),
              std::string(cpu::isa_name(isa)).c_str(), 1e-9 / read);
  for (const Type& type : kTypes) {
    const double t = mean(type, time);
    std::printf("  %-22s %8.1f us a layer  %5.2f times auto's speed  %3.0f%% of the read ceiling\n", type.name, 1e6 * t,
                time(0) / t, 100 * read * mean(type, bytes) / t);
  }
  for (const Kind& kind : all) {
    std::printf("    %-8s %8.1f us (by the clock %8.1f); a vector is appended in %.2f us of one thread\n",
                kind.name.c_str(), 1e6 * median(kind.attend.busy), 1e6 * median(kind.attend.wall),
                1e6 * threads * median(kind.append.busy));
  }
  std::fflush(stdout);
}

}  // namespace
}  // namespace arc

// attention [threads] [contexts, comma-separated] [rounds]; ARC_CPU_ISA is obeyed. Times are processor seconds per
// thread, which a machine with nobody else on it would show by the clock.
int main(int argc, char** argv) {
  const auto argument = [&](int i, const char* otherwise) { return std::string(i < argc ? argv[i] : otherwise); };
  const int threads = std::stoi(argument(1, "2"));
  arc::Bench bench(threads);
  const std::string contexts = argument(2, "512,4096,16384,32768");
  for (size_t at = 0; at < contexts.size(); ++at) {
    const size_t end = std::min(contexts.find(',', at), contexts.size());
    arc::measure(bench, arc::cpu::choose_isa(), std::stoll(contexts.substr(at, end - at)), std::stoi(argument(3, "5")),
                 threads);
    at = end;
  }
}
