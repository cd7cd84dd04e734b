// What changes while VMs run: metrics, sessions, the queue of pushes, events.
#pragma once

#include <cstdint>
#include <string>

#include "lamina/progress.h"
#include "lamina/result.h"
#include "schema/json.h"
#include "ui/daemon_client.h"

namespace lamina::ui {

/// {"daemon", "health", "metrics" (Prometheus' text), "sessions", "push", "errors"}. What is not
/// known is null. Without a daemon, the metrics are those of the store's page server. `progress`,
/// which may be null, can interrupt waiting for either.
schema::Json live_json(const Source& source, Progress* progress = nullptr);

/// The daemon's events with numbers above `after`, one JSON object per line, as the daemon sends
/// them; empty without a daemon. Errors as of read_daemon().
Result<std::string> events_after(const Source& source, std::uint64_t after, Progress* progress);

}  // namespace lamina::ui
