#pragma once

#include "daemon/settings.h"

namespace lamina::daemon {

/// Runs the daemon until a signal asks it to stop. kBusy when the store has one already. The
/// options are asked for again at SIGHUP. Some requests that do not end in time end the process
/// instead.
///
/// REQUIRES: one thread. Handles SIGTERM, SIGINT and SIGHUP from here on, and works in the
/// directory
/// /.
Status run(GivenOptions given);

}  // namespace lamina::daemon
