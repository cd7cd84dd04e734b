// Starting threads.
#pragma once

#include <string_view>
#include <thread>
#include <utility>

#include "base/contain.h"
#include "lamina/result.h"

namespace lamina::os {

/// A thread that runs `body`; kFailed when there cannot be another one (limits, memory). `what`
/// says what it is for. The body contains its exceptions itself.
template <typename Body>
Result<std::thread> start_thread(std::string_view what, Body body) {
  return contain(what, [&]() -> Result<std::thread> { return std::thread(std::move(body)); });
}

}  // namespace lamina::os
