// Speed of the CPU products on the shapes of one model layer and head, as shares of the machine's read ceiling and
// matrix peak, which are measured between the runs.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <functional>
#include <immintrin.h>
#include <string>
#include <vector>

#include "base/counter_rng.h"
#include "exec/thread_pool.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/pack.h"
#include "kernels/cpu/team.h"

namespace arc {
namespace {

struct Shape {
  int64_t out, in;
};
// Qwen3-0.6B: q k v, o, gate and up, down.
constexpr Shape kLayer[] = {{4096, 1024}, {1024, 2048}, {6144, 1024}, {1024, 3072}};

double seconds(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// Seconds by the clock, and processor seconds per thread: what the clock would show on a machine with nobody else.
struct Time {
  double wall = 0.0, busy = 0.0;
};

Time median(std::vector<Time> times) {
  Time out;
  const auto middle = times.begin() + static_cast<int64_t>(times.size() / 2);
  for (double Time::* field : {&Time::wall, &Time::busy}) {
    std::nth_element(times.begin(), middle, times.end(),
                     [&](const Time& a, const Time& b) { return a.*field < b.*field; });
    out.*field = (*middle).*field;
  }
  return out;
}

// Random bytes make sound weights of every format once scales are small: f16 and f32 scales lie at known places.
std::vector<std::byte> random_weights(const WeightFormat& format, int64_t out, int64_t in) {
  const auto count = static_cast<size_t>(in * out);
  std::vector<float> values(count);
  for (size_t i = 0; i < count; i += 4) {
    const Philox p = philox(1, i, 0);
    for (size_t j = 0; j < 4; ++j) values[i + j] = static_cast<float>(static_cast<int32_t>(p.word[j])) * 0x1p-33f;
  }
  std::vector<std::byte> bytes(static_cast<size_t>(format_bytes(format, out, in)));
  if (format.code == BlockCode::none) {
    from_float(format.element, values.data(), bytes.data(), count);
  } else {
    // One row encoded, repeated: encoding searches for the best scales and is slow.
    const auto row = static_cast<size_t>(format_bytes(format, 1, in));
    encode_blocks(format.code, values.data(), bytes.data(), in);
    for (int64_t r = 1; r < out; ++r) std::memcpy(bytes.data() + r * row, bytes.data(), row);
  }
  return bytes;
}

struct Model {
  cpu::PackedMemory memory;
  std::vector<Tensor> packed;
  std::vector<MatrixView> views;
  int64_t bytes = 0, parameters = 0;
};

Model make_model(const WeightFormat (&formats)[4], int layers) {
  Model model;
  for (int s = 0; s < 4; ++s) {
    const auto [out, in] = kLayer[s];
    const std::vector<std::byte> bytes = random_weights(formats[s], out, in);
    MatrixView view{.format = formats[s], .out = out, .in = in, .data = bytes.data()};
    for (int l = 0; l < layers; ++l) {
      model.packed.push_back(cpu::pack(view, model.memory));
      model.bytes += static_cast<int64_t>(model.packed.back().size_bytes());
      model.parameters += out * in;
    }
  }
  for (int l = 0; l < layers; ++l) {
    for (int s = 0; s < 4; ++s) {
      MatrixView view{.format = formats[s], .out = kLayer[s].out, .in = kLayer[s].in};
      view.format.pack = PackId::panels;
      view.data = model.packed[s * layers + l].data();
      model.views.push_back(view);
    }
  }
  return model;
}

class Bench {
 public:
  int threads() const { return threads_; }
  explicit Bench(int threads) : pool_(threads, [this](const Team& team) { work_(team); }), threads_(threads) {}

  // One pass over all weights with `rows` tokens.
  Time products(cpu::Isa isa, const Model& model, int64_t rows) {
    const size_t linear = Args(LinearArgs{}).index();
    std::vector<float> x(rows * 3072), y(rows * 6144);
    for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(static_cast<int>(i * 7919 % 2003) - 1001) * 1e-3f;
    int64_t scratch = 0;
    for (const MatrixView& view : model.views)
      scratch = std::max(scratch, cpu::product_scratch_bytes(LinearArgs{}, &view, rows));
    Tensor memory = Tensor::zeros({scratch}, DType::packed);
    return run([&](const Team& team) {
      for (const MatrixView& view : model.views) {
        const TensorView read{.data = x.data(), .rows = rows, .cols = view.in, .row_stride = view.in};
        const TensorView write{.data = y.data(), .rows = rows, .cols = view.out, .row_stride = view.out};
        cpu::kernels(isa)[linear](
            LinearArgs{}, {.weights = &view, .reads = &read, .writes = &write, .team = team, .scratch = memory.data()});
        cpu::sync(team);
      }
    });
  }

  // All threads read all weights once between them.
  Time read(const Model& model) {
    return run([&](const Team& team) {
      for (const Tensor& tensor : model.packed) {
        const int64_t chunks = static_cast<int64_t>(tensor.size_bytes()) / kChunk;
        int64_t begin, end;
        while (cpu::claim(team, chunks, 1, begin, end)) sink_ = sink_ + read_chunk(tensor.data() + begin * kChunk);
        cpu::sync(team);
      }
    });
  }

  // 16 times `rounds` register-only dot instructions on every thread.
  Time peak(bool bytes, int64_t rounds) {
    return run([&](const Team& team) {
      int64_t begin, end;
      while (cpu::claim(team, 16 * team.threads, 1, begin, end)) {
        bytes ? spin_bytes(rounds / 16) : spin_bf16(rounds / 16);
      }
      cpu::sync(team);
    });
  }

 private:
  static constexpr int64_t kChunk = 128 << 10;

  Time run(std::function<void(const Team&)> work) {
    work_ = std::move(work);
    const double wall = seconds(CLOCK_MONOTONIC), busy = seconds(CLOCK_PROCESS_CPUTIME_ID);
    pool_.run();
    return {.wall = seconds(CLOCK_MONOTONIC) - wall, .busy = (seconds(CLOCK_PROCESS_CPUTIME_ID) - busy) / threads_};
  }

  __attribute__((target("avx512f"))) static float read_chunk(const std::byte* p) {
    __m512i sum[4] = {};
    for (int64_t i = 0; i < kChunk; i += 256) {
      for (int j = 0; j < 4; ++j) sum[j] = _mm512_xor_si512(sum[j], _mm512_loadu_si512(p + i + 64 * j));
    }
    alignas(64) float lanes[16];
    _mm512_store_si512(lanes, _mm512_xor_si512(_mm512_xor_si512(sum[0], sum[1]), _mm512_xor_si512(sum[2], sum[3])));
    return lanes[0];
  }
  // Sixteen independent sums, enough to hide the latency.
#define ARC_SPIN(instruction)                                                                                          \
  for (int64_t i = 0; i < rounds; ++i) {                                                                               \
    asm volatile(".irp r, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n" instruction " %%zmm16, %%zmm16, %%zmm\\r\n.endr" :: \
                     : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",        \
                       "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");                                                   \
  }
  static void spin_bytes(int64_t rounds) { ARC_SPIN("vpdpbusd") }
  static void spin_bf16(int64_t rounds){ARC_SPIN("vdpbf16ps")}

  std::function<void(const Team&)> work_;
  ThreadPool pool_;
  int threads_;
  volatile float sink_ = 0.0f;
};

struct Mix {
  const char* name;
  WeightFormat formats[4];
};

WeightFormat blocks(BlockCode code) {
  return WeightFormat::blocks(code);
}

// The Q4_K_M mix keeps half of the v and down matrices in Q6_K: here every down matrix stands for both.
std::vector<Mix> mixes() {
  std::vector<Mix> all;
  const auto same = [&](const char* name, const WeightFormat& f) { all.push_back({name, {f, f, f, f}}); };
  same("f32", WeightFormat::plain(DType::f32));
  same("f16", WeightFormat::plain(DType::f16));
  same("bf16", WeightFormat::plain(DType::bf16));
  same("q8_0", blocks(BlockCode::q8_0));
  same("q4_0", blocks(BlockCode::q4_0));
  same("q4_k", blocks(BlockCode::q4_k));
  same("q5_k", blocks(BlockCode::q5_k));
  same("q6_k", blocks(BlockCode::q6_k));
  all.push_back(
      {"q4_k_m", {blocks(BlockCode::q4_k), blocks(BlockCode::q4_k), blocks(BlockCode::q4_k), blocks(BlockCode::q6_k)}});
  return all;
}

void measure(Bench& bench, cpu::Isa isa, const Mix& mix, int layers, int64_t rows, int rounds) {
  const Model model = make_model(mix.formats, layers);
  const bool bytes = mix.formats[0].code != BlockCode::none;
  constexpr int64_t kSpins = 2'000'000;
  std::vector<Time> reads, peaks, times;
  for (int i = 0; i < rounds; ++i) {
    reads.push_back(bench.read(model));
    peaks.push_back(bench.peak(bytes, kSpins));
    times.push_back(bench.products(isa, model, rows));
  }
  const Time read = median(reads), peak = median(peaks), time = median(times);
  const double gb = static_cast<double>(model.bytes) * 1e-9;
  const double gops = 2e-9 * static_cast<double>(model.parameters * rows);
  const double peak_gops = 1e-9 * static_cast<double>(kSpins * 16 * (bytes ? 128 : 64) * bench.threads());
  std::printf(
      "%-12s %-7s %4lld rows | wall: %6.1f GB/s %4.0f%% of the ceiling, %6.1f GOP/s %4.0f%% of the peak | "
      "busy: %6.1f GB/s %4.0f%% of %.1f, %6.1f GOP/s %4.0f%% of %.0f\n",
      std::string(cpu::isa_name(isa)).c_str(), mix.name, static_cast<long long>(rows), gb / time.wall,
      100 * read.wall / time.wall, gops / time.wall, 100 * gops / time.wall / (peak_gops / peak.wall), gb / time.busy,
      100 * read.busy / time.busy, gb / read.busy, gops / time.busy, 100 * gops / time.busy / (peak_gops / peak.busy),
      peak_gops / peak.busy);
  std::fflush(stdout);
}

}  // namespace
}  // namespace arc

// products [threads] [formats, comma-separated] [rows, comma-separated] [layers] [rounds]; ARC_CPU_ISA is obeyed.
int main(int argc, char** argv) {
  const auto argument = [&](int i, const char* otherwise) { return std::string(i < argc ? argv[i] : otherwise); };
  arc::Bench bench(std::stoi(argument(1, "2")));
  const std::string formats = "," + argument(2, "bf16,q8_0,q4_k_m") + ",";
  for (const arc::Mix& mix : arc::mixes()) {
    if (formats.find("," + std::string(mix.name) + ",") == std::string::npos) continue;
    std::string rows = argument(3, "1,2,4,8,16,512");
    for (size_t at = 0; at < rows.size(); ++at) {
      const size_t end = std::min(rows.find(',', at), rows.size());
      const int64_t n = std::stoll(rows.substr(at, end - at));
      measure(bench, arc::cpu::choose_isa(), mix, n > 64 ? 1 : std::stoi(argument(4, "8")), n,
              std::stoi(argument(5, "7")));
      at = end;
    }
  }
}
