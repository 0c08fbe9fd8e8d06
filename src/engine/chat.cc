// Conversations to token ids.
#include "base/error.h"
#include "engine/model_loader.h"

namespace arc {

std::vector<int32_t> tokenize_chat(const LoadedModel&, const ChatPrompt&) {
  throw Error(ErrorCode::invalid_argument, "this model has no chat template; give one with --chat-template");
}

}  // namespace arc
