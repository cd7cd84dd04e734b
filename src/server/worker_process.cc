#include "server/worker_process.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "os/process.h"
#include "os/unix_socket.h"

namespace lamina::server {
namespace {

constexpr std::chrono::milliseconds kFirstDelay{10};
constexpr std::chrono::milliseconds kLongestDelay{1000};

}  // namespace

WorkerProcess::Start WorkerProcess::start_if_due() {
  if (pid_ > 0 || Clock::now() < next_start_) return Start::kNone;
  auto ends = os::message_socket_pair();
  if (!ends) {
    log_(fmt::format("no serving process can be started yet: {}", one_line(ends.error())));
    delay_next_start();
    return Start::kNone;
  }
  const pid_t child = ::fork();
  if (child < 0) {
    log_(fmt::format("no serving process can be started yet: {}",
                     system_error("fork", "serving process", errno).message));
    delay_next_start();
    return Start::kNone;
  }
  if (child == 0) {
    ends->first.reset();
    control_.reset();
    body_(std::move(ends->second));
    next_start_ = Clock::now();
    delay_ = {};
    return Start::kIsSuccessor;
  }
  auto pidfd = os::open_process(child);
  if (!pidfd) {
    // Not to be seen any more, or no descriptor is left: without one its end would not be seen.
    log_(fmt::format("no serving process can be started yet: {}", one_line(pidfd.error())));
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    delay_next_start();
    return Start::kNone;
  }
  pid_ = child;
  pidfd_ = std::move(*pidfd);
  control_ = std::move(ends->first);
  started_ = Clock::now();
  return Start::kBegun;
}

int WorkerProcess::lives_in_ms() const {
  if (pid_ <= 0) return -1;
  const auto left =
      std::chrono::duration_cast<std::chrono::milliseconds>(started_ + kQuick - Clock::now());
  return static_cast<int>(std::max<std::int64_t>(left.count(), 0)) + 1;
}

int WorkerProcess::next_start_ms() const {
  if (pid_ > 0) return -1;
  const auto left =
      std::chrono::duration_cast<std::chrono::milliseconds>(next_start_ - Clock::now()).count();
  return static_cast<int>(std::max<std::int64_t>(left, 0)) + 1;
}

void WorkerProcess::delay_next_start() {
  delay_ = std::clamp(delay_ * 2, kFirstDelay, kLongestDelay);
  next_start_ = Clock::now() + delay_;
}

std::optional<ControlMessage> WorkerProcess::receive() {
  const auto received = os::receive_message(control_.get(), kMaxControlBytes);
  if (!received || received->bytes.empty()) {
    // It is gone. If it is not, it must not go on without us, and take us for gone.
    kill();
    control_.reset();
    return std::nullopt;
  }
  const auto message = decode_control(received->bytes);
  return message ? std::optional(*message) : std::nullopt;
}

void WorkerProcess::tell(const ControlMessage& message, std::span<const int> fds) {
  if (pid_ <= 0) return;
  const Status sent =
      os::send_message(control_.get(), encode_control(message), fds, os::WhenFull::kFail);
  if (!sent) kill();
}

void WorkerProcess::tell_vm(const Vm& vm) {
  ControlMessage message;
  message.kind = MessageKind::kServe;
  message.id = vm.id;
  message.text = vm.directory.name();
  std::vector<int> fds = {vm.userfaultfd.get(), vm.pidfd.get(), vm.directory.fd()};
  // One whose descriptors were taken from its process has no connection.
  if (vm.connection.valid()) fds.push_back(vm.connection.get());
  tell(message, fds);
}

WorkerProcess::Death WorkerProcess::reap() {
  if (pid_ <= 0 || !os::has_ended(pidfd_.get())) return Death::kNone;
  int status = 0;
  // Without a status (this process ignores SIGCHLD) it has ended all the same.
  const bool is_known = ::waitpid(pid_, &status, WNOHANG) == pid_;
  pid_ = -1;
  pidfd_.reset();
  control_.reset();
  ++deaths_;
  const Clock::time_point now = Clock::now();
  const bool was_quick = now - started_ < kQuick;
  next_start_ = now;
  if (!was_quick) delay_ = {};
  if (is_known && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) return Death::kOther;
  if (was_quick) delay_next_start();
  if (is_known && WIFEXITED(status) && WEXITSTATUS(status) == kExitCannotBegin) {
    return Death::kOther;
  }
  log_(fmt::format("the serving process ended by itself (status {:#x}); it is succeeded",
                   static_cast<unsigned>(status)));
  return was_quick ? Death::kCrashAtOnce : Death::kOther;
}

void WorkerProcess::kill() const {
  if (pid_ > 0) ::kill(pid_, SIGKILL);
}

void WorkerProcess::end() {
  if (pid_ <= 0) return;
  kill();
  // A tracer may hold it: it will end all the same.
  constexpr std::chrono::seconds kLongest{10};
  static_cast<void>(os::wait_for_end(pidfd_.get(), kLongest));
  ::waitpid(pid_, nullptr, WNOHANG);
  pid_ = -1;
  pidfd_.reset();
  control_.reset();
}

}  // namespace lamina::server
