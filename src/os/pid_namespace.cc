#include "os/pid_namespace.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "os/directory.h"
#include "os/directory_stream.h"
#include "os/proc_file.h"
#include "os/process.h"
#include "os/time_namespace.h"

namespace lamina::os {
namespace {

// The number of the initial pid namespace (PROC_PID_INIT_INO of include/linux/proc_ns.h).
constexpr std::uint64_t kInitialPidNamespace = 0xEFFFFFFC;

/// The pids of a process, from our namespace to its own (NSpid of /proc/PID/status, which all users
/// may read). Empty if it has ended.
std::vector<pid_t> pids_of(pid_t pid) {
  const std::string status = read_proc_file(fmt::format("/proc/{}/status", pid)).value_or("");
  std::string_view numbers = proc_value(status, "NSpid:");
  std::vector<pid_t> pids;
  while (const auto number = take_number(numbers)) pids.push_back(static_cast<pid_t>(*number));
  return pids;
}

/// True if /proc shows our own pid namespace.
bool is_own_proc() {
  std::array<char, 32> target{};
  const ssize_t length = ::readlink("/proc/self", target.data(), target.size());
  return length > 0 && std::string_view(target.data(), static_cast<std::size_t>(length)) ==
                           std::to_string(::getpid());
}

/// The processes in /proc; nullopt if it cannot be read.
std::optional<std::vector<pid_t>> visible_processes() {
  auto directory = open_directory(AT_FDCWD, "/proc", "/proc");
  if (!directory) return std::nullopt;
  const auto stream = read_directory(std::move(*directory), "/proc");
  if (!stream) return std::nullopt;
  std::vector<pid_t> processes;
  while (const dirent* entry = ::readdir(stream->get())) {  // NOLINT(concurrency-mt-unsafe)
    const std::string_view name = static_cast<const char*>(entry->d_name);
    pid_t process = -1;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), process);
    if (error == std::errc() && end == name.data() + name.size()) processes.push_back(process);
  }
  return processes;
}

}  // namespace

Presence presence_of(std::uint64_t pid_namespace, pid_t pid, std::uint64_t start_time) {
  const auto here = os::pid_namespace();
  if (!here) return Presence::kUnknown;
  if (*here == pid_namespace) {
    const auto runs = is_running(pid, start_time);
    if (!runs) return Presence::kUnknown;
    return *runs ? Presence::kRuns : Presence::kEnded;
  }
  // With hidepid, process 1 is hidden.
  if (!is_own_proc() || pids_of(1).empty()) return Presence::kUnknown;
  const auto processes = visible_processes();
  if (!processes) return Presence::kUnknown;
  bool is_below = *here == kInitialPidNamespace;
  bool is_complete = true;
  for (const pid_t found : *processes) {
    const std::vector<pid_t> pids = pids_of(found);
    if (pids.size() < 2) continue;  // has just ended, or is in our own namespace
    const auto its = namespace_number(fmt::format("/proc/{}/ns/pid", found));
    if (!its && !pids_of(found).empty()) is_complete = false;  // not permitted to examine it
    if (its != pid_namespace) continue;
    is_below = true;
    if (pids.back() == pid && is_running(found, start_time).value_or(true)) return Presence::kRuns;
  }
  return is_below && is_complete ? Presence::kEnded : Presence::kUnknown;
}

}  // namespace lamina::os
