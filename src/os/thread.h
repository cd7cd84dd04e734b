// Starting threads.
#pragma once

#include <string_view>
#include <thread>
#include <utility>

#include "base/contain.h"
#include "lamina/result.h"

namespace lamina::os {

/// Starts a thread that runs `body`, which must not throw. kFailed if no thread can be started
/// (limits, memory). `what` names its purpose in errors.
template <typename Body>
Result<std::thread> start_thread(std::string_view what, Body body) {
  return contain(what, [&]() -> Result<std::thread> { return std::thread(std::move(body)); });
}

}  // namespace lamina::os
