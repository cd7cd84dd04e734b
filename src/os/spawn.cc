#include "os/spawn.h"

#include <fcntl.h>
#include <linux/ioprio.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string_view>

#include "base/error.h"
#include "os/blocked_signals.h"
#include "os/process.h"

extern char** environ;  // NOLINT(readability-redundant-declaration): not every unistd.h has it

namespace lamina::os {
namespace {

constexpr const char* kNull = "/dev/null";
constexpr int kExtra = 3;

/// Variables that a service manager sets for the process that it starts.
constexpr std::array<std::string_view, 6> kManagerVariables = {
    "NOTIFY_SOCKET=", "WATCHDOG_USEC=", "WATCHDOG_PID=",
    "LISTEN_FDS=",    "LISTEN_PID=",    "LISTEN_FDNAMES="};

enum class Environment { kWhole, kWithoutManager };

std::vector<std::string> environment_with(
    const std::vector<std::pair<std::string, std::string>>& variables, Environment taken) {
  std::vector<std::string> settings;
  settings.reserve(variables.size());
  for (const auto& [name, value] : variables) settings.push_back(name + "=" + value);
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    // Of duplicates, a shell uses the last.
    const bool is_replaced =
        std::any_of(variables.begin(), variables.end(),
                    [&](const auto& variable) { return text.starts_with(variable.first + "="); });
    const bool is_dropped =
        taken == Environment::kWithoutManager &&
        std::any_of(kManagerVariables.begin(), kManagerVariables.end(),
                    [&](std::string_view name) { return text.starts_with(name); });
    if (!is_replaced && !is_dropped) settings.emplace_back(text);
  }
  return settings;
}

/// The array for execve(2). `texts` must outlive it.
std::vector<char*> pointers_to(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  pointers.reserve(texts.size() + 1);
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

bool is_open(int fd) { return fd >= 0 && ::fcntl(fd, F_GETFD) >= 0; }

/// Duplicates `fd` to a number that no redirection of a child overwrites; /dev/null if `fd` is not
/// open.
Result<Fd> out_of_the_way(int fd) {
  constexpr int kFirst = 10;
  Fd null;
  if (!is_open(fd)) {
    null = Fd(::open(kNull, O_RDWR | O_CLOEXEC));
    if (!null.valid()) return system_failure("open", kNull, errno);
    fd = null.get();
  }
  Fd copy(::fcntl(fd, F_DUPFD_CLOEXEC, kFirst));
  if (!copy.valid()) return system_failure("dup", "a descriptor of a child", errno);
  return copy;
}

/// The descriptors that become 0, 1, 2 and 3.
struct Redirections {
  Fd input;
  Fd output;
  Fd errors;
  Fd extra;
};

Result<Redirections> redirections_of(const SpawnRequest& request) {
  Redirections redirections;
  if (request.input >= 0) {
    LAMINA_ASSIGN_OR_RETURN(redirections.input, out_of_the_way(request.input));
  }
  LAMINA_ASSIGN_OR_RETURN(redirections.output, out_of_the_way(request.output));
  LAMINA_ASSIGN_OR_RETURN(redirections.errors, out_of_the_way(request.errors));
  if (request.extra >= 0) {
    LAMINA_ASSIGN_OR_RETURN(redirections.extra, out_of_the_way(request.extra));
  }
  return redirections;
}

std::unexpected<Error> not_started(const std::string& program, int error) {
  Error failed = system_error("start", program, error);
  if (failed.kind == ErrorKind::kNotFound) failed.kind = ErrorKind::kFailed;
  return std::unexpected(std::move(failed));
}

/// Owns the attributes and file actions of posix_spawn(3).
class SpawnSettings {
 public:
  SpawnSettings() {
    ::posix_spawn_file_actions_init(&actions_);
    ::posix_spawnattr_init(&attributes_);
  }
  SpawnSettings(const SpawnSettings&) = delete;
  SpawnSettings& operator=(const SpawnSettings&) = delete;
  SpawnSettings(SpawnSettings&&) = delete;
  SpawnSettings& operator=(SpawnSettings&&) = delete;
  ~SpawnSettings() {
    ::posix_spawn_file_actions_destroy(&actions_);
    ::posix_spawnattr_destroy(&attributes_);
  }

  posix_spawn_file_actions_t* actions() { return &actions_; }
  posix_spawnattr_t* attributes() { return &attributes_; }

 private:
  posix_spawn_file_actions_t actions_{};
  posix_spawnattr_t attributes_{};
};

// The following functions run between fork(2) and exec(2) of a process with threads: they are
// async-signal-safe and do not allocate.

void take_default_actions() {
  struct sigaction action{};
  action.sa_handler = SIG_DFL;
  for (int number = 1; number < NSIG; ++number) {
    static_cast<void>(::sigaction(number, &action, nullptr));  // fails for SIGKILL and SIGSTOP
  }
}

void lift_limit(decltype(RLIMIT_CPU) resource) {
  const rlimit none{RLIM_INFINITY, RLIM_INFINITY};
  if (::setrlimit(resource, &none) == 0) return;
  rlimit limit{};
  if (::getrlimit(resource, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  static_cast<void>(::setrlimit(resource, &limit));
}

/// A positive oom_score_adj was meant for the parent only.
void take_normal_oom_score() {
  constexpr const char* kPath = "/proc/self/oom_score_adj";
  const int fd = ::open(kPath, O_RDWR | O_CLOEXEC);
  if (fd < 0) return;
  char first = '-';
  if (::pread(fd, &first, 1, 0) == 1 && first != '-') {
    static_cast<void>(::pwrite(fd, "0", 1, 0) == 1);
  }
  ::close(fd);
}

/// Errors are ignored: a slow service is better than none.
void take_normal_priority() {
  const sched_param normal{};
  if (::sched_getscheduler(0) != SCHED_OTHER) {
    static_cast<void>(::sched_setscheduler(0, SCHED_OTHER, &normal));
  }
  if (::getpriority(PRIO_PROCESS, 0) > 0) static_cast<void>(::setpriority(PRIO_PROCESS, 0, 0));
  static_cast<void>(
      ::syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_PRIO_VALUE(IOPRIO_CLASS_NONE, 0)));
}

struct Prepared {
  const char* program;
  char* const* arguments;
  char* const* environment;
  int output;
  int errors;
  int failure;  ///< pipe that receives errno if the program does not start
};

[[noreturn]] void become(const Prepared& prepared) {
  constexpr int kFailure = 3;
  ::setsid();
  const int null = ::open(kNull, O_RDWR);
  if (null >= 0 && ::dup2(null, STDIN_FILENO) >= 0 && ::dup2(prepared.output, STDOUT_FILENO) >= 0 &&
      ::dup2(prepared.errors, STDERR_FILENO) >= 0 &&
      ::dup3(prepared.failure, kFailure, O_CLOEXEC) >= 0) {
    static_cast<void>(::syscall(SYS_close_range, kFailure + 1, ~0U, 0U));
    ::umask(S_IRWXG | S_IRWXO);
    for (const auto resource : {RLIMIT_CPU, RLIMIT_FSIZE, RLIMIT_AS, RLIMIT_DATA}) {
      lift_limit(resource);
    }
    take_normal_priority();
    take_normal_oom_score();
    take_default_actions();
    sigset_t none{};
    sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    ::execvpe(prepared.program, prepared.arguments, prepared.environment);
  }
  const int error = errno;
  static_cast<void>(::write(kFailure, &error, sizeof(error)) == 0);
  ::_exit(127);
}

/// The process between the starter and the service. It sends the service's pid to the starter and,
/// by not reaping the service, keeps the pid from being reused until the starter has a pidfd.
[[noreturn]] void be_go_between(const Prepared& prepared, int starter) {
  // If SIGCHLD were ignored, the kernel would reap a service that ends at once.
  struct sigaction action{};
  action.sa_handler = SIG_DFL;
  static_cast<void>(::sigaction(SIGCHLD, &action, nullptr));
  const pid_t service = ::fork();
  if (service == 0) become(prepared);
  const int error = errno;
  if (service < 0) static_cast<void>(::write(prepared.failure, &error, sizeof(error)) == 0);
  ::close(prepared.failure);
  static_cast<void>(::send(starter, &service, sizeof(service), MSG_NOSIGNAL));
  char nothing = 0;
  while (::recv(starter, &nothing, 1, 0) < 0 && errno == EINTR) {
  }
  ::_exit(0);
}

/// The errno from the pipe; 0 at its end, which means that the program runs.
int error_from(int pipe) {
  int error = 0;
  while (::read(pipe, &error, sizeof(error)) < 0 && errno == EINTR) {
  }
  return error;
}

}  // namespace

Result<pid_t> spawn_child(const SpawnRequest& request) {
  std::vector<std::string> words = request.words;
  std::vector<std::string> settings = environment_with(request.variables, Environment::kWhole);
  const std::vector<char*> arguments = pointers_to(words);
  const std::vector<char*> environment = pointers_to(settings);
  LAMINA_ASSIGN_OR_RETURN(const Redirections to, redirections_of(request));

  SpawnSettings spawning;
  sigset_t all{};
  sigset_t none{};
  sigfillset(&all);
  sigemptyset(&none);
  ::posix_spawnattr_setflags(spawning.attributes(), POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF |
                                                        POSIX_SPAWN_SETSIGMASK);
  ::posix_spawnattr_setsigdefault(spawning.attributes(), &all);
  ::posix_spawnattr_setsigmask(spawning.attributes(), &none);
  posix_spawn_file_actions_t* actions = spawning.actions();
  if (to.input.valid()) {
    ::posix_spawn_file_actions_adddup2(actions, to.input.get(), STDIN_FILENO);
  } else if (!is_open(STDIN_FILENO)) {
    ::posix_spawn_file_actions_addopen(actions, STDIN_FILENO, kNull, O_RDWR, 0);
  }
  ::posix_spawn_file_actions_adddup2(actions, to.output.get(), STDOUT_FILENO);
  ::posix_spawn_file_actions_adddup2(actions, to.errors.get(), STDERR_FILENO);
  int first_closed = kExtra;
  if (to.extra.valid()) {
    ::posix_spawn_file_actions_adddup2(actions, to.extra.get(), first_closed++);
  }
  ::posix_spawn_file_actions_addclosefrom_np(actions, first_closed);
  pid_t child = -1;
  const int error = ::posix_spawnp(&child, arguments.front(), actions, spawning.attributes(),
                                   arguments.data(), environment.data());
  if (error != 0) return not_started(request.words.front(), error);
  return child;
}

Result<DetachedProcess> spawn_detached(const SpawnRequest& request) {
  std::vector<std::string> words = request.words;
  std::vector<std::string> settings =
      environment_with(request.variables, Environment::kWithoutManager);
  const std::vector<char*> arguments = pointers_to(words);
  const std::vector<char*> environment = pointers_to(settings);
  const std::string& program = request.words.front();
  LAMINA_ASSIGN_OR_RETURN(const Redirections to, redirections_of(request));
  std::array<int, 2> pipe{};
  if (::pipe2(pipe.data(), O_CLOEXEC) != 0) return system_failure("pipe", program, errno);
  const Fd failure(pipe[0]);
  Fd failing(pipe[1]);
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    return system_failure("socketpair", program, errno);
  }
  Fd ours(ends[0]);
  Fd theirs(ends[1]);
  LAMINA_ASSIGN_OR_RETURN(failing, out_of_the_way(failing.get()));
  const Prepared prepared{arguments.front(), arguments.data(), environment.data(),
                          to.output.get(),   to.errors.get(),  failing.get()};
  pid_t go_between = -1;
  {
    const BlockedSignals blocked(BlockedSignals::Which::kAll);  // no handler runs in the child
    go_between = ::fork();
    if (go_between == 0) {
      ours.reset();
      be_go_between(prepared, theirs.get());
    }
  }
  if (go_between < 0) return system_failure("fork", program, errno);
  theirs.reset();
  failing.reset();
  DetachedProcess started;
  const ssize_t count = ::recv(ours.get(), &started.pid, sizeof(started.pid), 0);
  const int error = error_from(failure.get());
  Result<Fd> pidfd = fail(ErrorKind::kFailed, "start '{}': no process was created", program);
  if (count == sizeof(started.pid) && started.pid > 0) pidfd = open_process(started.pid);
  ours.reset();
  // Fails with ECHILD if another thread has reaped it, or if SIGCHLD is ignored.
  while (::waitpid(go_between, nullptr, 0) < 0 && errno == EINTR) {
  }
  if (error != 0) return not_started(program, error);
  if (!pidfd) return std::unexpected(pidfd.error());
  started.pidfd = std::move(*pidfd);
  return started;
}

}  // namespace lamina::os
