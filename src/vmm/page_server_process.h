// The store's page server, as a process of its own that outlives whoever started it.
#pragma once

#include <string>
#include <vector>

#include "lamina/result.h"
#include "store/store.h"

namespace lamina::vmm {

/// Makes sure that a page server runs for the store: when none does, starts `command` in a session
/// of its own, with its output appended to <store>/.vms/page-server.log, and waits until it says
/// that it is ready (READY=1 to $NOTIFY_SOCKET). Returns whether it was started. kFailed, with the
/// last line of the log, when it ends instead; and when none runs and `command` is empty.
Result<bool> ensure_page_server(const store::Store& store, const std::vector<std::string>& command);

}  // namespace lamina::vmm
