#include "os/poll.h"

#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/error.h"

namespace lamina::os {
namespace {

/// After a poll(2) that was refused.
constexpr int kRefusedPauseMs = 100;

/// What can be done about the limit.
std::unexpected<Error> with_limit_remedy(std::unexpected<Error> failure) {
  return with_remedy(std::move(failure), "raise the limit of open files, as in: ulimit -n 1024");
}

}  // namespace

Result<bool> wait_for_events(std::span<pollfd> entries, int wait_ms) {
  const int count = ::poll(entries.data(), entries.size(), wait_ms);
  if (count >= 0) return count > 0;
  int error_number = errno;
  for (pollfd& one : entries) one.revents = 0;
  if (error_number == EINTR) return false;
  bool has_event = false;
  bool is_refused = true;
  for (pollfd& one : entries) {
    const int found = ::poll(&one, 1, 0);
    if (found < 0) error_number = errno;
    is_refused = is_refused && found < 0;
    has_event = has_event || found > 0;
  }
  if (has_event) return true;
  ::poll(nullptr, 0, wait_ms < 0 ? kRefusedPauseMs : std::min(wait_ms, kRefusedPauseMs));
  if (!is_refused) return false;
  return with_limit_remedy(system_failure("poll", "descriptors", error_number));
}

Status check_open_file_limit(std::uint64_t least, std::string_view what) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= least) return {};
  return with_limit_remedy(fail(ErrorKind::kFailed,
                                "{} needs {} descriptors at least, and may have {} (RLIMIT_NOFILE)",
                                what, least, limit.rlim_cur));
}

}  // namespace lamina::os
