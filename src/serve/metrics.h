// The engine's counters in Prometheus' text format (exposition format 0.0.4).
#pragma once

#include <string>

#include "arc/engine.h"

namespace arc::serve {

inline constexpr const char* kMetricsContentType = "text/plain; version=0.0.4; charset=utf-8";

std::string metrics_text(const EngineStats& stats);

}  // namespace arc::serve
