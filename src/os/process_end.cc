#include "os/process_end.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "base/error.h"
#include "os/file.h"

namespace lamina::os {
namespace {

/// struct pidfd_info of <linux/pidfd.h> as of Linux 6.15.
struct PidfdInfo {
  std::uint64_t mask = 0;
  std::uint64_t cgroup_id = 0;
  std::array<std::uint32_t, 11> ids{};
  std::int32_t exit_code = 0;
};
static_assert(sizeof(PidfdInfo) == 64);

constexpr std::uint64_t kInfoExit = 1U << 3U;                   // PIDFD_INFO_EXIT
constexpr unsigned long kGetInfo = _IOWR(0xFF, 11, PidfdInfo);  // PIDFD_GET_INFO

std::optional<int> status_of_reaped(int pidfd) {
  PidfdInfo info;
  info.mask = kInfoExit;
  if (::ioctl(pidfd, kGetInfo, &info) != 0 || (info.mask & kInfoExit) == 0) return std::nullopt;
  return info.exit_code;
}

/// The fields of /proc/PID/stat about the end of a process.
struct EndFacts {
  bool is_exiting = false;
  int status = 0;  ///< as from wait(2); 0 also if it may not be read
};

std::optional<EndFacts> facts_of_end(const NamedProcess& process) {
  const std::string path = fmt::format("/proc/{}/stat", process.pid);
  const auto fd = open_at(AT_FDCWD, path, O_RDONLY, path);
  if (!fd) return std::nullopt;
  std::array<char, 4096> buffer{};
  const auto count = read_at(fd->get(), std::as_writable_bytes(std::span(buffer)), 0, path);
  if (!count) return std::nullopt;
  std::string_view text(buffer.data(), *count);
  // The second field is the program's name in parentheses, and may contain anything.
  text.remove_prefix(std::min(text.rfind(')'), text.size()));
  constexpr int kFirst = 2;
  constexpr int kFlags = 9;
  constexpr int kStartTime = 22;
  constexpr int kStatus = 52;
  constexpr std::uint64_t kExiting = 0x4;  // PF_EXITING
  EndFacts facts;
  std::uint64_t start_time = 0;
  for (int field = kFirst; !text.empty(); ++field) {
    const std::size_t end = std::min(text.find_first_of(" \n"), text.size());
    std::uint64_t number = 0;
    const std::string_view word = text.substr(0, end);
    std::from_chars(word.data(), word.data() + word.size(), number);
    if (field == kFlags) facts.is_exiting = (number & kExiting) != 0;
    if (field == kStartTime) start_time = number;
    if (field == kStatus) facts.status = static_cast<int>(number);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  if (start_time != process.start_time) return std::nullopt;
  return facts;
}

}  // namespace

bool is_ending(int pidfd, const NamedProcess& process) {
  if (has_ended(pidfd)) return true;
  const auto facts = facts_of_end(process);
  return facts && facts->is_exiting;
}

bool wait_if_ending(int pidfd, const NamedProcess& process) {
  constexpr int kLongestMs = 1000;
  if (!is_ending(pidfd, process)) return false;
  pollfd end{pidfd, POLLIN, 0};
  return ::poll(&end, 1, kLongestMs) > 0;
}

std::string describe_end(int pidfd, const NamedProcess& process) {
  std::optional<int> status = status_of_reaped(pidfd);
  if (!status) {
    const auto facts = facts_of_end(process);
    if (facts && facts->status != 0) status = facts->status;
  }
  if (!status) return {};
  if (WIFSIGNALED(*status)) return fmt::format(": killed by signal {}", WTERMSIG(*status));
  return fmt::format(": exit code {}", WEXITSTATUS(*status));
}

}  // namespace lamina::os
