// The snapshots that are named at the start, opened at once: each by a thread of its own
// (openings.h), so that a start takes as long as the slowest of them takes, and not all together.
#pragma once

#include <vector>

#include "lamina/result.h"
#include "lamina/serve.h"
#include "server/openings.h"
#include "server/snapshots.h"

namespace lamina::server {

/// Opens the snapshots of `endpoints`, and waits for them. They stay open until `snapshots` goes.
/// Returns what each is served, in the order given. The error is that of the first one in that
/// order which cannot be opened; some others may be read still then. REQUIRES: `openings` has been
/// started.
Result<std::vector<Service>> open_named_snapshots(const std::vector<ServeEndpoint>& endpoints,
                                                  Snapshots& snapshots, Openings& openings);

/// The same, with an error for each one that cannot be opened.
std::vector<Result<Service>> try_named_snapshots(const std::vector<ServeEndpoint>& endpoints,
                                                 Snapshots& snapshots, Openings& openings);

}  // namespace lamina::server
