// Waiting for descriptors in a loop.
//
// poll(2) fails with EINVAL if it gets more entries than RLIMIT_NOFILE permits, whatever their
// descriptors are, and prlimit(2) can lower that limit at any time. It fails with ENOMEM, too. A
// loop that ignores this learns of no event, and uses a whole processor.
#pragma once

#include <poll.h>

#include <cstdint>
#include <span>
#include <string_view>

#include "lamina/result.h"

namespace lamina::os {

/// Waits until one of `entries` has an event, at most for `wait_ms` (-1: without a limit), and sets
/// all `revents`. True if one has; false when the time is over, and earlier after a signal, so that
/// the caller must be a loop. When poll(2) refuses that many entries they are looked at one by one,
/// a few times a second. An error when it refuses that, too; returned after a pause, so that the
/// caller may try again at once.
Result<bool> wait_for_events(std::span<pollfd> entries, int wait_ms);

/// kFailed if the soft limit of open files is lower than `least`. `what` is what needs them, as the
/// start of a sentence: "a page server".
Status check_open_file_limit(std::uint64_t least, std::string_view what);

}  // namespace lamina::os
