// Starting threads.
#pragma once

#include <string_view>
#include <thread>
#include <utility>

#include "base/contain.h"
#include "lamina/result.h"
#include "os/blocked_signals.h"

namespace lamina::os {

/// Starts a thread that runs `body`, which must not throw. kFailed if no thread can be started
/// (limits, memory). `what` names its purpose in errors.
///
/// The thread blocks the signals that are sent to a process: their handlers belong to the program
/// that embeds the library, and to its threads.
template <typename Body>
Result<std::thread> start_thread(std::string_view what, Body body) {
  return contain(what, [&]() -> Result<std::thread> {
    const BlockedSignals inherited(BlockedSignals::Which::kSent);
    return std::thread(std::move(body));
  });
}

}  // namespace lamina::os
