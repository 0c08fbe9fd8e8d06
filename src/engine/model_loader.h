// From a model's files to everything the engine runs on.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "arc/engine.h"
#include "engine/cache_sizing.h"
#include "engine/embedding_head.h"
#include "exec/executor.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace arc {

struct LoadedModel {
  ModelInfo info;
  std::unique_ptr<Executor> executor;  // its cache is allocated
  CachePlan cache;
  // Of the plan, what the engine asks for:
  std::vector<CacheNeeds> groups;
  int32_t rope_switch = 0;
  bool bidirectional = false;
  int32_t max_batched_tokens = 0;       // of a step: as asked, but a text that is read both ways must fit
  std::unique_ptr<EmbeddingHead> head;  // null: it makes no vectors
  Tokenizer tokenizer;
  std::optional<ChatTemplate> chat_template;
};

// Throws Error that names the file and the remedy.
LoadedModel load_model(const EngineConfig& config, const ProgressSink& progress);

// The model's chat template, or the one in `override_path` when that is given. Throws Error that names the file.
std::optional<ChatTemplate> open_chat_template(const std::filesystem::path& folder, const std::string& override_path,
                                               const Tokenizer& tokenizer);

// The token ids of a conversation, rendered by the model's chat template. Throws Error(invalid_argument) when it has
// none.
std::vector<int32_t> tokenize_chat(const LoadedModel& model, const ChatPrompt& prompt);

}  // namespace arc
