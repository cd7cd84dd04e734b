#include "os/process.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstring>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/error.h"
#include "os/directory.h"
#include "os/directory_stream.h"
#include "os/file.h"
#include "os/time_namespace.h"
#include "os/userfaultfd.h"

namespace lamina::os {
namespace {

template <typename Number>
bool parse_number(std::string_view text, Number& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size();
}

/// The fields of /proc/PID/stat that lamina uses.
struct Stat {
  char state = '?';
  std::uint64_t threads = 1;
  std::uint64_t start_time = 0;  ///< in the initial time namespace
};

/// boot_time_offset_ns(), which is constant for a process. Not a static variable with an
/// initialiser: that would keep a failure (no descriptor was left) for good, and a process that is
/// forked while another thread runs the initialiser would wait for it forever.
Result<std::int64_t> known_boot_time_offset_ns() {
  constexpr std::int64_t kUnknown = std::numeric_limits<std::int64_t>::min();
  static constinit std::atomic<std::int64_t> known = kUnknown;
  if (const std::int64_t offset_ns = known; offset_ns != kUnknown) return offset_ns;
  LAMINA_ASSIGN_OR_RETURN(const std::int64_t offset_ns, boot_time_offset_ns());
  known = offset_ns;
  return offset_ns;
}

/// Field 22 of /proc/PID/stat includes the offset of the reader's time namespace.
Result<std::uint64_t> without_time_namespace(std::uint64_t ticks) {
  LAMINA_ASSIGN_OR_RETURN(const std::int64_t offset_ns, known_boot_time_offset_ns());
  if (offset_ns == 0) return ticks;
  const std::int64_t tick_ns = 1'000'000'000 / ::sysconf(_SC_CLK_TCK);
  std::int64_t offset_ticks = offset_ns / tick_ns;
  if (offset_ns % tick_ns < 0) --offset_ticks;
  return ticks - static_cast<std::uint64_t>(offset_ticks);
}

/// Removes the fields from number `from` up to field `number`; each has a space before it.
bool skip_to_field(std::string_view& text, int from, int number) {
  for (int i = from; i < number; ++i) {
    const std::size_t space = text.find(' ', 1);
    if (space == std::string_view::npos) return false;
    text.remove_prefix(space);
  }
  return true;
}

/// The number at the start of the text, after one space.
bool leading_number(std::string_view text, std::uint64_t& number) {
  text.remove_prefix(1);
  return std::from_chars(text.data(), text.data() + text.size(), number).ec == std::errc();
}

Result<Stat> stat_of(pid_t pid) {
  const std::string path = fmt::format("/proc/{}/stat", pid);
  LAMINA_ASSIGN_OR_RETURN(const Fd fd, open_at(AT_FDCWD, path, O_RDONLY, path));
  std::array<char, 4096> buffer{};
  LAMINA_ASSIGN_OR_RETURN(const std::size_t count,
                          read_at(fd.get(), std::as_writable_bytes(std::span(buffer)), 0, path));
  std::string_view text(buffer.data(), count);
  // The second field is the program's name in parentheses, and may contain anything.
  const std::size_t name_end = text.rfind(')');
  if (name_end == std::string_view::npos) {
    return fail(ErrorKind::kFailed, "'{}' has no program name", path);
  }
  constexpr int kState = 3;
  constexpr int kThreads = 20;
  constexpr int kStartTime = 22;
  text.remove_prefix(name_end + 1);
  Stat stat;
  if (text.size() > 1) stat.state = text[1];
  if (!skip_to_field(text, kState, kThreads) || !leading_number(text, stat.threads) ||
      !skip_to_field(text, kThreads, kStartTime) || !leading_number(text, stat.start_time)) {
    return fail(ErrorKind::kFailed, "'{}' has too few fields", path);
  }
  LAMINA_ASSIGN_OR_RETURN(stat.start_time, without_time_namespace(stat.start_time));
  return stat;
}

/// The value of a line "Name:\tvalue" of /proc/PID/status.
std::string status_value(std::string_view text, std::string_view name) {
  for (std::size_t start = 0; start < text.size();) {
    const std::size_t end = std::min(text.find('\n', start), text.size());
    std::string_view line = text.substr(start, end - start);
    start = end + 1;
    if (!line.starts_with(name)) continue;
    line.remove_prefix(std::min(name.size() + 1, line.size()));  // the tab
    return std::string(line);
  }
  return {};
}

/// What holds up one thread; empty if unknown.
std::string hold_of_thread(const std::string& path) {
  const auto fd = open_at(AT_FDCWD, path, O_RDONLY, path);
  if (!fd) return {};
  std::array<char, 4096> buffer{};
  const auto count = read_at(fd->get(), std::as_writable_bytes(std::span(buffer)), 0, path);
  if (!count) return {};
  const std::string_view text(buffer.data(), *count);
  const std::string tracer = status_value(text, "TracerPid:");
  const std::string state = status_value(text, "State:");
  if (!tracer.empty() && tracer != "0") {
    return fmt::format("process {} traces it and keeps it (state {})", tracer, state);
  }
  // In uninterruptible sleep (D) or stopped. A thread that is exiting is in neither state.
  return state.starts_with('D') ? fmt::format("it waits in the kernel (state {})", state) : "";
}

}  // namespace

Result<Fd> open_process(pid_t pid) {
  Fd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (pidfd.valid()) return pidfd;
  if (errno == ESRCH) return fail(ErrorKind::kNotFound, "process {} has ended", pid);
  return system_failure("pidfd_open", std::to_string(pid), errno);
}

bool may_signal(int pidfd) { return ::syscall(SYS_pidfd_send_signal, pidfd, 0, nullptr, 0) == 0; }

bool has_ended(int pidfd) {
  pollfd ended{pidfd, POLLIN, 0};
  return ::poll(&ended, 1, 0) > 0;
}

Result<std::uint64_t> start_time_of(pid_t pid) {
  LAMINA_ASSIGN_OR_RETURN(const Stat stat, stat_of(pid));
  return stat.start_time;
}

std::string process_name(pid_t pid, std::uint64_t start_time) {
  return fmt::format("{}-{}", pid, start_time);
}

std::optional<NamedProcess> parse_process_name(const std::string& name) {
  const std::string_view text = name;
  const std::size_t dash = text.find('-');
  NamedProcess process;
  if (dash == std::string_view::npos || !parse_number(text.substr(0, dash), process.pid) ||
      !parse_number(text.substr(dash + 1), process.start_time) || process.pid <= 0 ||
      process_name(process.pid, process.start_time) != name) {
    return std::nullopt;
  }
  return process;
}

std::string own_program() {
  std::array<char, 4096> program{};
  const ssize_t length = ::readlink("/proc/self/exe", program.data(), program.size());
  if (length <= 0) return {};
  // The kernel appends " (deleted)" if the file was replaced; the path now names the new program.
  constexpr std::string_view kReplaced = " (deleted)";
  std::string_view name(program.data(), static_cast<std::size_t>(length));
  if (name.ends_with(kReplaced)) name.remove_suffix(kReplaced.size());
  return std::string(name);
}

Result<bool> is_running(pid_t pid, std::uint64_t start_time) {
  const auto stat = stat_of(pid);
  if (!stat) {
    // Without /proc nothing is known about any process.
    if (stat.error().kind == ErrorKind::kNotFound && name_exists(AT_FDCWD, "/proc/self/stat")) {
      return false;
    }
    return std::unexpected(stat.error());
  }
  // An offset that is not a whole number of ticks causes a difference of one.
  const bool is_it = stat->start_time + 1 >= start_time && stat->start_time <= start_time + 1;
  // A zombie with live threads: only its first thread has ended, not the process.
  const bool has_ended = stat->state == 'X' || (stat->state == 'Z' && stat->threads <= 1);
  return is_it && !has_ended;
}

Result<std::uint64_t> pid_namespace() {
  const std::string path = "/proc/self/ns/pid";
  struct stat facts{};
  if (::stat(path.c_str(), &facts) != 0) return system_failure("stat", path, errno);
  return facts.st_ino;
}

Result<std::string> boot_id() {
  const std::string path = "/proc/sys/kernel/random/boot_id";
  LAMINA_ASSIGN_OR_RETURN(const Fd fd, open_at(AT_FDCWD, path, O_RDONLY, path));
  std::array<char, 64> buffer{};
  LAMINA_ASSIGN_OR_RETURN(const std::size_t count,
                          read_at(fd.get(), std::as_writable_bytes(std::span(buffer)), 0, path));
  std::string_view text(buffer.data(), count);
  while (text.ends_with('\n')) text.remove_suffix(1);
  return std::string(text);
}

Result<std::vector<int>> userfaultfds_of(pid_t pid) {
  const std::string path = fmt::format("/proc/{}/fd", pid);
  LAMINA_ASSIGN_OR_RETURN(Fd directory, open_directory(AT_FDCWD, path, path));
  const int fd = directory.get();
  LAMINA_ASSIGN_OR_RETURN(const DirectoryStream stream, read_directory(std::move(directory), path));
  std::vector<int> found;
  // Limited, because a hostile process may have a million descriptors.
  constexpr int kMaxEntries = 4096;
  for (int i = 0; i < kMaxEntries; ++i) {
    const dirent* entry = ::readdir(stream.get());  // NOLINT(concurrency-mt-unsafe): own stream
    if (entry == nullptr) break;
    const char* name = static_cast<const char*>(entry->d_name);
    if (!names_userfaultfd(fd, name)) continue;
    int number = -1;
    std::from_chars(name, name + std::strlen(name), number);
    found.push_back(number);
  }
  return found;
}

Result<bool> waits_for_pages(pid_t pid) {
  constexpr std::string_view kWaiters = "total:";
  LAMINA_ASSIGN_OR_RETURN(const std::vector<int> numbers, userfaultfds_of(pid));
  for (const int number : numbers) {
    const std::string path = fmt::format("/proc/{}/fdinfo/{}", pid, number);
    LAMINA_ASSIGN_OR_RETURN(const Fd fd, open_at(AT_FDCWD, path, O_RDONLY, path));
    std::array<char, 1024> buffer{};
    LAMINA_ASSIGN_OR_RETURN(const std::size_t count,
                            read_at(fd.get(), std::as_writable_bytes(std::span(buffer)), 0, path));
    const std::string_view text(buffer.data(), count);
    std::size_t at = text.find(kWaiters);
    if (at == std::string_view::npos) continue;
    at = text.find_first_not_of(" \t", at + kWaiters.size());
    if (at != std::string_view::npos && text[at] >= '1' && text[at] <= '9') return true;
  }
  return false;
}

Result<Fd> take_descriptor(int pidfd, int number) {
  Fd fd(static_cast<int>(::syscall(SYS_pidfd_getfd, pidfd, number, 0)));
  if (!fd.valid()) return system_failure("pidfd_getfd", std::to_string(number), errno);
  return fd;
}

std::optional<bool> is_same_file(pid_t pid, int number, int fd) {
  const long order = ::syscall(SYS_kcmp, ::getpid(), pid, KCMP_FILE, fd, number);
  if (order < 0) return std::nullopt;
  return order == 0;
}

Result<bool> wait_for_end(int pidfd, std::chrono::milliseconds longest) {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point deadline = Clock::now() + longest;
  while (true) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
    pollfd end{pidfd, POLLIN, 0};
    const int ready = ::poll(&end, 1, static_cast<int>(std::max<std::int64_t>(left.count(), 0)));
    if (ready > 0) return true;
    if (ready < 0 && errno != EINTR) return system_failure("poll", "process", errno);
    if (left.count() <= 0) return false;
  }
}

std::string why_not_ended(pid_t pid) {
  const std::string path = fmt::format("/proc/{}/task", pid);
  auto directory = open_directory(AT_FDCWD, path, path);
  if (!directory) return "the reason cannot be seen";
  const auto stream = read_directory(std::move(*directory), path);
  if (!stream) return "the reason cannot be seen";
  constexpr int kMaxThreads = 256;
  for (int i = 0; i < kMaxThreads; ++i) {
    const dirent* entry = ::readdir(stream->get());  // NOLINT(concurrency-mt-unsafe): own stream
    if (entry == nullptr) break;
    const char* name = static_cast<const char*>(entry->d_name);
    if (*name == '.') continue;
    std::string hold = hold_of_thread(fmt::format("{}/{}/status", path, name));
    if (!hold.empty()) return hold;
  }
  return "the kernel has not taken it down yet";
}

Status kill_process(int pidfd) {
  if (::syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, nullptr, 0) == 0 || errno == ESRCH) {
    return {};
  }
  return system_failure("kill", "peer process", errno);
}

}  // namespace lamina::os
