// The public interface of Arc: load a model, submit requests, receive events. Plain types only.
//
//   auto engine = arc::load_engine({.model = "path/to/model"});
//   engine->submit({.prompt = arc::TextPrompt{"Once upon a time"}}, [](const arc::Event& e) { ... });
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "arc/sampling.h"

namespace arc {

// ---- configuration -------------------------------------------------------------------------------------------------

struct EngineConfig {
  std::string model;           // a folder with config.json, tokenizer.json and *.safetensors
  std::string served_name;     // the name in responses; empty: the folder's name
  std::string dtype = "auto";  // auto, f32, bf16, f16: of activations and of the uncompressed cache
  // How keys and values are stored: turboquant, q8, ..., or auto, as `dtype` says; see docs/turboquant.md.
  std::string cache_type = "turboquant";
  std::string pooling;               // how texts become vectors where the model does not say: last, mean, cls, ...
  std::string chat_template;         // a .jinja file that replaces the model's own
  int32_t max_seqs = 32;             // sequences that run at once
  int32_t max_queue = 1024;          // requests that may wait; one more is refused
  int32_t max_batched_tokens = 512;  // tokens of one step
  double step_ms = 50;               // that a step beside answers should take; prompts are cut for it; 0: not
  int32_t max_seq_len = 0;           // limits a request; 0: the model's own length
  int64_t kv_memory_bytes = 0;       // 0: chosen from what the machine has
  int64_t swap_memory_bytes = 0;     // for preempted sequences; 0: as much as the cache itself
  bool prefix_cache = true;
  int32_t tensor_parallel = 1;    // ranks inside this process
  std::string executor = "auto";  // auto (the fastest that runs the model), ref, cpu, cuda
  int32_t threads = 0;            // of the CPU executor; 0: all cores
  uint64_t seed = 0;              // of requests that name none
};

// Called while a model loads: what is happening, and how far it is (0 to 1).
using ProgressSink = std::function<void(const std::string& what, double fraction)>;

// ---- requests ------------------------------------------------------------------------------------------------------

struct TextPrompt {
  std::string text;
  bool add_special_tokens = true;  // BOS and the like, as the tokenizer defines
};
struct TokenPrompt {
  std::vector<int32_t> tokens;
};
// OpenAI-style messages, rendered by the model's chat template. JSON texts, because the template sees them as given.
struct ChatPrompt {
  std::string messages_json;            // array of messages
  std::string tools_json;               // array of tools, or empty
  std::string template_arguments_json;  // object of extra template variables, or empty
  bool add_generation_prompt = true;
};
using Prompt = std::variant<TextPrompt, TokenPrompt, ChatPrompt>;

// Asks for one vector of a text (or tokens) in place of an answer; see arc/embed.h for a call that waits.
struct EmbeddingParams {
  int32_t dimensions = 0;                  // only so many numbers, the first, scaled to length 1 again; 0: all
  std::optional<std::string> prompt_name;  // of the model's prompts, put before a text; absent: the model's default
  bool truncate = false;                   // a text that is too long loses its end
};

struct Request {
  Prompt prompt = TextPrompt{};
  std::optional<EmbeddingParams> embedding;  // given: `sampling` counts for nothing
  SamplingParams sampling;
  std::string cache_salt;  // requests with different salts never share cached prefixes
  // With sampling.prompt_logprobs: [prompt tokens, vocabulary], memory of the caller until the last event. Row i
  // becomes the raw logits after token i.
  float* prompt_logits = nullptr;
};

using RequestId = uint64_t;

// ---- events --------------------------------------------------------------------------------------------------------

struct TokenLogprob {
  int32_t token = 0;
  std::string bytes;  // the token's own bytes, which need not be valid UTF-8 alone
  float logprob = 0;
};

struct PositionLogprobs {
  TokenLogprob chosen;
  std::vector<TokenLogprob> top;  // most likely first
};

enum class FinishReason { stop, length, cancelled, error };

struct Usage {
  int32_t prompt_tokens = 0;
  int32_t cached_tokens = 0;  // of the prompt, found in the prefix cache
  int32_t completion_tokens = 0;
  double queue_seconds = 0, prefill_seconds = 0, decode_seconds = 0;
};

// One event per step and choice. The first of a request has `prompt_tokens` filled; the last of a choice has `finish`.
struct Event {
  RequestId id = 0;
  int32_t choice = 0;                             // 0 to n-1
  std::chrono::steady_clock::time_point made{};   // when the step was done that this tells of, however late it arrives
  std::vector<int32_t> tokens;                    // new tokens
  std::string text;                               // new text, always whole UTF-8 characters
  std::vector<PositionLogprobs> logprobs;         // one per new token, when asked for
  std::vector<int32_t> prompt_tokens;             // first event only
  std::vector<PositionLogprobs> prompt_logprobs;  // first event, when asked for; position 0 has no value
  std::optional<FinishReason> finish;
  std::string stop_text;         // the stop string that ended it
  std::string error;             // with FinishReason::error
  Usage usage;                   // with `finish`
  std::vector<float> embedding;  // with `finish`, when asked for
};

// Called on the engine's output thread, events of one request in order. Must not block.
using EventSink = std::function<void(const Event&)>;

// ---- the engine ----------------------------------------------------------------------------------------------------

// What a step must at least read and compute. Of routed experts, those that one token chooses.
struct StepCosts {
  int64_t weight_bytes = 0;                   // each step, however many sequences
  int64_t cache_bytes_per_context_token = 0;  // each sequence; a window is not taken off
  int64_t flops_per_token = 0;                // products of the layers, without attention over the context
  int64_t flops_per_row = 0;                  // the head, for each token that reaches it
};

struct ModelInfo {
  std::string name;          // as served
  std::string architecture;  // "qwen3"
  int64_t created = 0;       // unix seconds when loaded
  int32_t max_seq_len = 0;
  int32_t vocab_size = 0;
  int64_t n_parameters = 0;
  bool has_chat_template = false;
  bool generates = true;       // no: it makes vectors only
  int32_t embedding_size = 0;  // numbers of its vectors; 0: it makes none
  std::string load_report;     // what runs where, line by line
  std::string runs_on;         // the executor, in a few words
  SamplingDefaults sampling;   // of the model's generation_config.json
  StepCosts costs;
};

struct EngineStats {
  int64_t requests_total = 0, requests_finished = 0, requests_cancelled = 0, requests_failed = 0, requests_refused = 0;
  int64_t prompt_tokens_total = 0, cached_tokens_total = 0, generated_tokens_total = 0;
  int64_t preemptions_swap = 0, preemptions_recompute = 0;
  int64_t steps_total = 0, lease_steps_total = 0;  // the latter: of all, those that ran in leases, without the host
  double execute_seconds = 0, host_seconds = 0;    // in the executor, and of the engine's thread before and after steps
  // Pairs of a query's token and a key's, in all layers; of the latter the cache held a code, not the number itself.
  int64_t keys_read = 0, coded_keys_read = 0;
  int32_t running = 0, waiting = 0;
  double cache_usage = 0;  // share of the cache's blocks in use
};

// Thread-safe. All calls may be made from any thread; `submit` throws arc::Error for a request that cannot be served.
class Engine {
 public:
  virtual ~Engine() = default;

  virtual RequestId submit(Request request, EventSink sink) = 0;
  // The request ends with FinishReason::cancelled; unknown and finished ids are ignored.
  virtual void cancel(RequestId id) = 0;

  virtual ModelInfo info() const = 0;
  virtual EngineStats stats() const = 0;
  // False after a device fault; `reason` then says why.
  virtual bool healthy(std::string* reason) const = 0;

  virtual std::vector<int32_t> tokenize(const Prompt& prompt) const = 0;
  virtual std::string detokenize(const std::vector<int32_t>& tokens) const = 0;
  // The token as the tokenizer's file spells it ("Ġthe", "▁the"); empty for ids without a token.
  virtual std::string token_text(int32_t token) const = 0;
};

// Loads a model; throws arc::Error that names the file and the remedy.
std::unique_ptr<Engine> load_engine(const EngineConfig& config, const ProgressSink& progress = {});

// What `arc inspect` prints: the model layer by layer, the plan, bytes per token. Reads headers only, no weights.
std::string inspect_model(const EngineConfig& config);

}  // namespace arc
