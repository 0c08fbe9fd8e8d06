#include "gpu/serve_shape.h"

#include <cstdio>
#include <fstream>

#include "fmt/format.h"
#include "nlohmann/json.hpp"

#include "engine/cache_sizing.h"
#include "engine/engine_impl.h"
#include "exec/cuda/cuda_backend.h"
#include "tensor/device_memory.h"

namespace arc::bench {
namespace {

constexpr int32_t kMaxLen = 32768 + 1024;
constexpr int64_t kSpareBytes = int64_t{3} << 30;

// The built-in model gives what is not on the device: its tokenizer spells few of the tokens that are drawn.
LoadedModel on_device(const Shape& shape, const ServeOptions& options, const CudaDevice& device,
                      const EngineConfig& config) {
  Plan plan = lowered(shape, options.cache, options.weights);
  const StepCapacity capacity{.tokens = config.max_batched_tokens,
                              .rows = config.max_batched_tokens,
                              .seqs = config.max_seqs,
                              .positions = kMaxLen};
  if (const std::string problem = gpu::problem(plan, capacity, device); !problem.empty()) {
    throw Error(ErrorCode::unsupported, fmt::format("{}: {}", shape.name, problem));
  }
  EngineConfig small = config;
  small.executor = "cpu", small.kv_memory_bytes = 64 << 20, small.max_batched_tokens = config.max_seqs;
  LoadedModel model = load_model(small, {});
  auto executor = std::make_unique<CudaExecutor>(plan, random_weights(plan, device), capacity, device);
  model.cache = size_cache(plan.groups, {.memory_bytes = gpu::find().free_bytes - kSpareBytes,
                                         .swap_bytes = int64_t{4} << 30,
                                         .max_seqs = config.max_seqs,
                                         .max_seq_len = kMaxLen,
                                         .max_batched_tokens = config.max_batched_tokens});
  executor->allocate_cache(model.cache.capacity);
  model.info.name = shape.name;
  model.info.runs_on = executor->describe();
  model.info.max_seq_len = model.cache.max_seq_len;
  model.info.vocab_size = plan.vocab;
  model.executor = std::move(executor);
  model.groups = plan.groups;
  model.rope_switch = plan.rope_switch;
  model.max_batched_tokens = config.max_batched_tokens;
  return model;
}

}  // namespace

void serve_shape(const Shape& shape, const ServeOptions& options, const CudaDevice& device, const std::string& out) {
  const EngineConfig config{
      .max_seqs = options.max_seqs, .max_batched_tokens = options.max_batched_tokens, .step_ms = options.step_ms};
  LoadedModel model = on_device(shape, options, device, config);
  nlohmann::ordered_json json{{"model", shape.name},
                              {"device", device.name},
                              {"runs_on", model.info.runs_on},
                              {"cache", options.cache},
                              {"cache_tokens", model.cache.n_tokens},
                              {"max_seqs", options.max_seqs},
                              {"max_batched_tokens", options.max_batched_tokens},
                              {"step_ms", options.step_ms}};
  EngineImpl engine(std::move(model), config);
  const auto save = [&] {
    if (!out.empty()) std::ofstream(out) << json.dump(1) << "\n";
  };
  if (options.trace.empty()) {
    json["hit"] = measure_hit(engine, {});
    std::printf("%s\n", json.dump(1).c_str());
    return save();
  }
  const std::vector<TraceRequest> trace = read_trace(options.trace, options.begin, 300);
  json["trace"] = std::filesystem::path(options.trace).filename().string();
  for (const double rate : options.rates) {
    json["runs"].push_back(replay(engine, trace, {.rate = rate, .seconds = options.seconds}));
    std::printf("%s\n", json["runs"].back().dump(1).c_str());
    std::fflush(stdout);
    save();
  }
}

}  // namespace arc::bench
