// The public entry point.
#include "arc/engine.h"

#include "engine/engine_impl.h"

namespace arc {

std::unique_ptr<Engine> load_engine(const EngineConfig& config, const ProgressSink& progress) {
  return std::make_unique<EngineImpl>(load_model(config, progress), config);
}

}  // namespace arc
