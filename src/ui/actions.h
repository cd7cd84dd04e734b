// What the page of lamina ui --allow-actions may change: it removes snapshots and merges layers.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "lamina/progress.h"
#include "lamina/result.h"
#include "lamina/uuid.h"
#include "ui/daemon_client.h"

namespace lamina::ui {

/// Carries out "remove" or "merge" (lamina compact) for the snapshot of that name: by the daemon if
/// one is asked, else in this process. With a pause id, "remove" removes only the state of that
/// pause. Returns what was done, for a person. kNotFound: another action. Else the errors of
/// remove_snapshots() and compact(). Returns when it has ended, also if that takes minutes.
/// kInterrupted if `progress` asks to stop; a daemon then goes on by itself.
Result<std::string> act(const Source& source, std::string_view action, const std::string& name,
                        const std::optional<Uuid>& pause_id, Progress& progress);

}  // namespace lamina::ui
