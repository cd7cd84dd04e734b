#include "os/own_process.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <string_view>

namespace lamina::os {
namespace {

/// Raised by a write to a closed pipe or beyond a limit.
constexpr std::array kAlwaysIgnored = {SIGPIPE, SIGXFSZ};
/// Stay ignored if the parent ignores them.
constexpr std::array kInheritable = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGTTIN, SIGTTOU};
/// Signals for which a service has handlers or a signalfd.
constexpr std::array kHandled = {SIGHUP, SIGINT, SIGTERM, SIGCHLD};

// Written by main() before there are other threads.
std::uint64_t open_files_before = 0;  // NOLINT(cppcoreguidelines-avoid-non-const-global-variables)

template <std::size_t kCount>
bool is_one_of(int number, const std::array<int, kCount>& numbers) {
  return std::find(numbers.begin(), numbers.end(), number) != numbers.end();
}

template <std::size_t kCount>
sigset_t set_of(const std::array<int, kCount>& numbers) {
  sigset_t set{};
  sigemptyset(&set);
  for (const int number : numbers) sigaddset(&set, number);
  return set;
}

void set_action(int number, void (*handler)(int)) {
  struct sigaction action{};
  action.sa_handler = handler;
  // Fails for SIGKILL, SIGSTOP and signals of the C library.
  static_cast<void>(::sigaction(number, &action, nullptr));
}

bool is_ignored(int number) {
  struct sigaction action{};
  return ::sigaction(number, nullptr, &action) == 0 && action.sa_handler == SIG_IGN;
}

void open_if_closed(int fd, int flags) {
  if (::fcntl(fd, F_GETFD) >= 0) return;
  // `fd` is the lowest free number, because those below it are open. "/" is only a placeholder.
  if (::open("/dev/null", flags) < 0) static_cast<void>(::open("/", O_RDONLY | O_DIRECTORY));
}

void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max) return;
  const rlim_t before = limit.rlim_cur;
  limit.rlim_cur = limit.rlim_max;
  if (::setrlimit(RLIMIT_NOFILE, &limit) == 0) open_files_before = before;
}

int number_in(const char* variable) {
  const char* text = ::getenv(variable);  // NOLINT(concurrency-mt-unsafe): one thread yet
  int number = 0;
  if (text != nullptr) std::from_chars(text, text + std::strlen(text), number);
  return number;
}

/// The number of descriptors, from 3 on, that a service manager passed to this process.
int passed_descriptors() {
  if (number_in("LISTEN_PID") != ::getpid()) return 0;
  return std::max(number_in("LISTEN_FDS"), 0);
}

}  // namespace

void begin_program() {
  open_if_closed(STDIN_FILENO, O_RDONLY);
  // Opened for reading, so that writes to it fail.
  open_if_closed(STDOUT_FILENO, O_RDONLY);
  open_if_closed(STDERR_FILENO, O_RDWR);
  // exec(2) keeps only "ignore" and the default action. Any handler was installed by code that runs
  // before main().
  for (int number = 1; number < NSIG; ++number) {
    if (is_ignored(number) && !is_one_of(number, kInheritable)) set_action(number, SIG_DFL);
  }
  for (const int number : kAlwaysIgnored) set_action(number, SIG_IGN);
  sigset_t others{};
  sigfillset(&others);
  for (const int number : kHandled) sigdelset(&others, number);
  ::sigprocmask(SIG_UNBLOCK, &others, nullptr);
  const mode_t mask = ::umask(S_IRWXG | S_IRWXO);
  ::umask(mask & ~static_cast<mode_t>(S_IRWXU));
  raise_descriptor_limit();
}

void unblock_signals() {
  const sigset_t handled = set_of(kHandled);
  ::pthread_sigmask(SIG_UNBLOCK, &handled, nullptr);
}

void begin_service() {
  const sigset_t handled = set_of(kHandled);
  ::sigprocmask(SIG_BLOCK, &handled, nullptr);
  for (const int number : kInheritable) set_action(number, SIG_DFL);
  const int flags = ::fcntl(STDOUT_FILENO, F_GETFL);
  if (flags >= 0 && (flags & O_ACCMODE) == O_RDONLY) {
    ::close(STDOUT_FILENO);
    open_if_closed(STDOUT_FILENO, O_RDWR);
  }
  // NOLINTNEXTLINE(concurrency-mt-unsafe): one thread
  if (::getenv(kHandoverVariable) != nullptr) return;
  constexpr unsigned kFirst = STDERR_FILENO + 1;
  const int passed = passed_descriptors();
  for (int i = 0; i < passed; ++i) {
    static_cast<void>(::fcntl(static_cast<int>(kFirst) + i, F_SETFD, FD_CLOEXEC));
  }
  static_cast<void>(::syscall(SYS_close_range, kFirst + static_cast<unsigned>(passed), ~0U, 0U));
}

std::uint64_t inherited_open_file_limit() { return open_files_before; }

}  // namespace lamina::os
