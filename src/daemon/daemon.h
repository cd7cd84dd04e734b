#pragma once

#include "daemon/settings.h"

namespace lamina::daemon {

/// Runs the daemon until SIGTERM or SIGINT. SIGHUP reads the configuration file again. kBusy: the
/// store has a daemon already. If requests do not end within stop_timeout, it exits the process
/// instead of returning.
///
/// REQUIRES: the process has one thread. Installs handlers of SIGTERM, SIGINT and SIGHUP, and
/// changes the working directory to /.
Status run(GivenOptions given);

}  // namespace lamina::daemon
