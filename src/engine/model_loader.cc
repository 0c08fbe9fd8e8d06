#include "engine/model_loader.h"

#include <algorithm>
#include <ctime>

#include "fmt/format.h"
#include "nlohmann/json.hpp"

#include "base/error.h"
#include "base/json.h"
#include "engine/executor_choice.h"
#include "engine/generation_defaults.h"
#include "engine/gguf_tokenizer.h"
#include "engine/model_source.h"
#include "plan/cache_policy.h"

namespace arc {
namespace {

constexpr int32_t kMaxStepTokens = 1 << 20;

// The dtype of the cache: the one asked for, else the model's own.
DType cache_dtype(const std::string& asked, const Config& config) {
  const std::string name = asked == "auto" ? config.dtype() : asked;
  if (name == "f32" || name == "float32" || name.empty()) return DType::f32;
  if (name == "bf16" || name == "bfloat16") return DType::bf16;
  if (name == "f16" || name == "float16") return DType::f16;
  throw Error(ErrorCode::invalid_argument, fmt::format("dtype \"{}\" is not one of auto, f32, bf16, f16", name));
}

std::string human_bytes(int64_t bytes) {
  return bytes >= 1'000'000'000 ? fmt::format("{:.2f} GB", static_cast<double>(bytes) / 1e9)
                                : fmt::format("{:.1f} MB", static_cast<double>(bytes) / 1e6);
}

std::string load_report(const Plan& plan, const LoadedWeights& weights, const CachePlan& cache, const ModelInfo& info,
                        const std::string& executor, const std::string& note, const std::vector<LayerCache>& layers,
                        std::optional<int64_t> raw_tokens, bool shortened) {
  std::string text = fmt::format("{} ({}), {} parameters\n", info.name, info.architecture, parameter_count(plan));
  text += fmt::format("runs on: {}\n", executor);
  if (!note.empty()) text += fmt::format("no GPU: {}\n", note);
  if (weights.placed_bytes > 0) {
    text += fmt::format("weights: {} to the GPU, {} changed on the way; {:.1f} s, {:.2f} GB/s\n",
                        human_bytes(weights.placed_bytes), human_bytes(weights.mapped_bytes + weights.copied_bytes),
                        weights.seconds, static_cast<double>(weights.placed_bytes) / 1e9 / weights.seconds);
  } else {
    text += fmt::format("weights: {} mapped, {} copied\n", human_bytes(weights.mapped_bytes),
                        human_bytes(weights.copied_bytes));
  }
  for (const auto& [change, count] : weights.converted) {
    text += fmt::format("requantised: {} matrices from {}\n", count, change);
  }
  text += fmt::format("cache: {} for {} tokens, swap {}\n", human_bytes(cache.memory_bytes), cache.n_tokens,
                      human_bytes(cache.swap_bytes));
  text += describe_cache(plan, layers);
  if (raw_tokens) {
    text += fmt::format("room for {} tokens ({} sequences of 4096), uncompressed for {} ({})\n", cache.n_tokens,
                        cache.n_tokens / 4096, *raw_tokens, *raw_tokens / 4096);
  }
  text += fmt::format("longest sequence: {} tokens{}\n", info.max_seq_len,
                      shortened ? " (what the cache holds; raise --kv-memory for more)" : "");
  if (!weights.unused.empty()) {
    text += fmt::format("not used: {} tensors", weights.unused.size());
    for (size_t i = 0; i < std::min<size_t>(weights.unused.size(), 8); ++i)
      text += (i == 0 ? ": " : ", ") + weights.unused[i];
    text += weights.unused.size() > 8 ? ", ...\n" : "\n";
  }
  return text;
}

std::string describe_embeddings(const Plan& plan, const EmbeddingSpec& spec, int32_t max_batched_tokens) {
  std::string text = fmt::format("embeddings: {}\n", to_string(spec, plan.dim));
  for (const auto& [name, prompt] : spec.prompts) {
    text += fmt::format("prompt {}{}: \"{}\"\n", name, name == spec.default_prompt ? " (default)" : "", prompt);
  }
  if (plan.bidirectional) {
    text +=
        fmt::format("reads both ways: a text is computed in one step, of up to {} tokens, and nothing of it is kept\n",
                    max_batched_tokens);
  }
  if (plan.logits == kNone) text += "makes vectors only, no text\n";
  return text;
}

void add_costs(const Plan& plan, StepCosts& costs) {
  const StageCost total = total_cost(plan);
  int64_t head_flops = 0;
  for (const Stage& stage : plan.stages) {
    const BufferId written = stage.writes[0].buffer;
    if (written != kNone && plan.buffers[written].rows == Buffer::Rows::head_rows) {
      head_flops += stage.cost.flops_per_token;
    }
  }
  costs.weight_bytes += total.weight_bytes;
  costs.cache_bytes_per_context_token += total.cache_bytes_per_token;
  costs.flops_per_token += total.flops_per_token - head_flops;
  costs.flops_per_row += head_flops;
}

// How the model makes vectors: as asked for, as its folder says, or by the rule for models that have no head. Nothing
// when it makes none.
std::optional<EmbeddingSpec> embedding_of(const ModelSource& model, const std::string& pooling) {
  std::optional<EmbeddingSpec> spec = model.embedding;
  if (pooling.empty() && (spec || model.spec.has_head)) return spec;
  if (!spec) spec.emplace();
  const Pooling by_rule = is_bidirectional(model.spec) ? Pooling::mean : Pooling::last;
  spec->origin = pooling.empty() ? "no modules.json: the rule for its architecture" : "--pooling";
  spec->pooling.modes = {pooling.empty() ? by_rule : pooling_from(pooling)};
  spec->modules = {NormalizeSpec{}};
  return spec;
}

// The tokens of a step: a text that is read both ways must fit into one.
int32_t step_tokens(const EngineConfig& config, const ModelSpec& spec) {
  if (!is_bidirectional(spec)) return config.max_batched_tokens;
  const int32_t longest =
      config.max_seq_len > 0 ? std::min(config.max_seq_len, spec.max_positions) : spec.max_positions;
  if (longest > kMaxStepTokens) {
    throw Error(ErrorCode::resource,
                fmt::format("texts of {} tokens do not fit one step of at most {}, as a model that "
                            "reads both ways needs; give --max-seq-len",
                            longest, kMaxStepTokens));
  }
  return std::max(config.max_batched_tokens, longest);
}

// The policy of each layer, from --pa-cache-type and --dtype.
std::vector<LayerCache> layer_caches(const EngineConfig& config, const ModelSource& model) {
  return resolve_cache(model.spec, parse_cache_type(config.cache_type), cache_dtype(config.dtype, model.config));
}

int32_t longest_sequence(const Plan& plan, const EngineConfig& config) {
  return config.max_seq_len > 0 ? std::min(config.max_seq_len, plan.max_positions) : plan.max_positions;
}

CachePlan plan_cache(const Plan& plan, const EngineConfig& config, const ExecutorChoice& choice,
                     const StepCapacity& capacity) {
  const int64_t memory =
      config.kv_memory_bytes > 0 ? config.kv_memory_bytes : choice.default_cache_bytes(plan, capacity);
  const bool on_gpu = choice.kind == ExecutorChoice::Kind::cuda;  // swap space is the host's
  const int64_t swap = on_gpu ? std::min(memory, default_cache_bytes()) : memory;
  const int32_t wanted = longest_sequence(plan, config);
  const CachePlan cache =
      size_cache(plan.groups, {.memory_bytes = memory,
                               .swap_bytes = config.swap_memory_bytes > 0 ? config.swap_memory_bytes : swap,
                               .max_seqs = config.max_seqs,
                               .max_seq_len = wanted,
                               .max_batched_tokens = config.max_batched_tokens});
  if (config.max_seq_len > 0 && cache.max_seq_len < wanted) {
    throw Error(ErrorCode::resource,
                fmt::format("--max-seq-len {} does not fit the cache, which holds {} tokens; raise --kv-memory",
                            config.max_seq_len, cache.n_tokens));
  }
  return cache;
}

// Tokens that the same memory would hold uncompressed; none: it is.
std::optional<int64_t> uncompressed_tokens(const Plan& plan, const EngineConfig& config, const CachePlan& cache) {
  const CacheBytes bytes = cache_bytes_per_token(plan);
  if (bytes.stored == bytes.raw) return std::nullopt;
  return tokens_within(uncompressed(plan.groups), {.memory_bytes = cache.memory_bytes,
                                                   .max_seqs = config.max_seqs,
                                                   .max_seq_len = longest_sequence(plan, config),
                                                   .max_batched_tokens = config.max_batched_tokens});
}

void check_config(const EngineConfig& config) {
  const auto require = [](bool ok, const char* rule) {
    if (!ok) throw Error(ErrorCode::invalid_argument, rule);
  };
  require(config.max_seqs >= 1 && config.max_seqs <= 4096, "--max-seqs must be between 1 and 4096");
  require(config.max_batched_tokens >= config.max_seqs && config.max_batched_tokens <= kMaxStepTokens,
          "the tokens of one step must be between --max-seqs and 1048576");
  require(config.step_ms >= 0 && config.step_ms <= 3.6e6, "--step-ms must be between 0 and 3600000");
  require(config.max_queue >= 0, "the queue's length must not be negative");
  require(config.max_seq_len >= 0, "--max-seq-len must not be negative");
  require(config.kv_memory_bytes >= 0 && config.swap_memory_bytes >= 0, "memory sizes must not be negative");
  require(config.tensor_parallel >= 1 && config.tensor_parallel <= 64,
          "the tensor-parallel size must be between 1 and 64");
}

}  // namespace

LoadedModel load_model(const EngineConfig& asked, const ProgressSink& progress) {
  check_config(asked);
  ExecutorChoice choice = choose_executor(asked);
  const ModelSource model = open_model(asked.model, true);
  EngineConfig config = asked;
  config.max_batched_tokens = step_tokens(asked, model.spec);
  const CheckpointSlots slots = model.slots();
  const std::vector<LayerCache> layers = layer_caches(config, model);

  const auto lowered = [&](int rank) {
    return lower(model.spec, slots,
                 {.shard = {.rank = rank, .size = config.tensor_parallel},
                  .kernels = &choice.kernels(),
                  .policy = [&](int layer) { return layers[static_cast<size_t>(layer)].policy; }});
  };
  StepCapacity capacity{
      .tokens = config.max_batched_tokens, .rows = config.max_batched_tokens, .seqs = config.max_seqs};

  std::vector<RefExecutor::Rank> ranks;
  for (int r = 0; r < config.tensor_parallel; ++r) {
    Plan plan = lowered(r);
    if (!choice.settle(plan, capacity)) plan = lowered(r);
    const auto loading = [&](double fraction) {
      if (progress) progress("loading weights", (r + fraction) / config.tensor_parallel);
    };
    LoadedWeights weights = load_weights(plan, *model.checkpoint, loading, choice.packer(plan), choice.placer());
    ranks.push_back({.plan = std::move(plan), .weights = std::move(weights)});
  }
  const Plan plan = ranks[0].plan;
  const CachePlan cache = plan_cache(plan, config, choice, capacity);
  capacity.positions = cache.max_seq_len;
  ModelInfo info{.name = config.served_name.empty() ? model.name() : config.served_name,
                 .architecture = plan.arch,
                 .created = std::time(nullptr),
                 .max_seq_len = cache.max_seq_len,
                 .vocab_size = plan.vocab,
                 .n_parameters = parameter_count(plan),
                 .generates = plan.logits != kNone,
                 .sampling = generation_defaults(model.files.generation_config_json)};
  std::unique_ptr<EmbeddingHead> head;
  if (std::optional<EmbeddingSpec> spec = embedding_of(model, config.pooling)) {
    const double scale = model.spec.has_head ? 1.0 / model.spec.logit_scale : 1.0;  // the final norm has it
    head = std::make_unique<EmbeddingHead>(std::move(*spec), plan.dim, scale, model.files.path);
    info.embedding_size = head->size();
  }
  for (const RefExecutor::Rank& rank : ranks) add_costs(rank.plan, info.costs);
  LoadedWeights summary{.unused = ranks[0].weights.unused,
                        .converted = ranks[0].weights.converted,
                        .copied_bytes = ranks[0].weights.copied_bytes,
                        .mapped_bytes = ranks[0].weights.mapped_bytes,
                        .placed_bytes = ranks[0].weights.placed_bytes,
                        .seconds = ranks[0].weights.seconds};
  std::unique_ptr<Executor> executor = choice.make(std::move(ranks), capacity);
  executor->allocate_cache(cache.capacity);
  info.runs_on = executor->describe();
  const bool shortened = cache.max_seq_len < plan.max_positions && config.max_seq_len == 0;
  info.load_report = load_report(plan, summary, cache, info, info.runs_on, choice.note, layers,
                                 uncompressed_tokens(plan, config, cache), shortened);
  if (head) info.load_report += describe_embeddings(plan, head->spec(), config.max_batched_tokens);

  LoadedModel loaded{.info = std::move(info),
                     .executor = std::move(executor),
                     .cache = cache,
                     .groups = plan.groups,
                     .rope_switch = plan.rope_switch,
                     .bidirectional = plan.bidirectional,
                     .max_batched_tokens = config.max_batched_tokens,
                     .head = std::move(head),
                     .tokenizer = model.gguf ? gguf_tokenizer(model.gguf->metadata) : load_tokenizer(model.files.path)};
  loaded.chat_template = model.gguf && config.chat_template.empty()
                             ? gguf_chat_template(model.gguf->metadata, loaded.tokenizer)
                             : open_chat_template(model.files.path, config.chat_template, loaded.tokenizer);
  loaded.info.has_chat_template = loaded.chat_template.has_value();
  return loaded;
}

std::string inspect_model(const EngineConfig& config) {
  const ModelSource model = open_model(config.model, false);
  const std::vector<LayerCache> layers = layer_caches(config, model);
  const auto describe = [&](const SlotResolver& slots) {
    const Plan plan =
        lower(model.spec, slots, {.policy = [&](int layer) { return layers[static_cast<size_t>(layer)].policy; }});
    const std::optional<EmbeddingSpec> embedding = embedding_of(model, config.pooling);
    return to_string(plan) + describe_cache(plan, layers) +
           (embedding ? describe_embeddings(plan, *embedding, step_tokens(config, model.spec)) : "");
  };
  if (model.checkpoint) return to_string(model.spec) + describe(model.slots());
  return to_string(model.spec) + "no weights in this folder: sizes are what config.json asks for\n" +
         describe(ShapeOnlySlots(model.own_names, model.spec.tied_head, cache_dtype(config.dtype, model.config)));
}

}  // namespace arc
