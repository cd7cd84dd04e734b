#include "server/worker_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
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
/// How often it is looked whether a replaced process can be reaped.
constexpr int kReapMs = 50;

}  // namespace

WorkerProcess::Start WorkerProcess::start_if_due() {
  reap_replaced();
  const bool is_wanted = pid_ <= 0 || is_replaced_;
  if (!is_wanted || Clock::now() < next_start_) return Start::kNone;
  const auto delay = [this](const Error& cause) {
    log_(fmt::format("no serving process can be started yet: {}", one_line(cause)));
    // One that is to be replaced serves still.
    if (pid_ <= 0) failure_ = one_line(cause);
    delay_next_start();
    return Start::kNone;
  };
  auto ends = os::message_socket_pair();
  if (!ends) return delay(ends.error());
  // Open in the child until it has ended the process that it succeeds.
  auto life = tell_replaced();
  if (!life) return delay(life.error());
  const pid_t child = ::fork();
  if (child < 0) return delay(system_error("fork", "serving process", errno));
  if (child == 0) {
    ends->first.reset();
    become_successor();
    life->reset();
    body_(std::move(ends->second));
    next_start_ = Clock::now();
    delay_ = {};
    return Start::kIsSuccessor;
  }
  auto pidfd = os::open_process(child);
  if (!pidfd) {
    // Not to be seen any more, or no descriptor is left: without one its end would not be seen.
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    return delay(pidfd.error());
  }
  note_begun(child, std::move(*pidfd), std::move(ends->first));
  return Start::kBegun;
}

/// Tells the process that is replaced which end of a pipe it can see its successor's life by.
/// Returns the other end; none if there is no such process.
Result<os::Fd> WorkerProcess::tell_replaced() const {
  if (pid_ <= 0) return os::Fd();
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
    return system_failure("pipe", "serving process", errno);
  }
  const os::Fd read_end(ends[0]);
  os::Fd write_end(ends[1]);
  ControlMessage message;
  message.kind = MessageKind::kReplaced;
  const std::array<int, 1> fds = {read_end.get()};
  const Status told =
      os::send_message(control_.get(), encode_control(message), fds, os::WhenFull::kFail);
  // It has died, or does not read: without knowing it must not live beside its successor.
  if (!told) {
    kill();
    return std::unexpected(told.error());
  }
  return write_end;
}

/// In the child: ends the process that it succeeds, and forgets the parent's other children.
void WorkerProcess::become_successor() {
  if (pid_ > 0) ending_.push_back({pid_, std::move(pidfd_)});
  // All, since a successor may have died before it had ended one.
  for (const Replaced& one : ending_) {
    // Two must not serve one VM, however long a disk or a tracer holds up the end of the first.
    constexpr std::chrono::seconds kAgain{1};
    while (!os::has_ended(one.pidfd.get())) {
      static_cast<void>(os::kill_process(one.pidfd.get()));
      static_cast<void>(os::wait_for_end(one.pidfd.get(), kAgain));
    }
  }
  ending_.clear();
  forget();
}

void WorkerProcess::forget() {
  pid_ = -1;
  pidfd_.reset();
  control_.reset();
  is_replaced_ = false;
  is_inherited_ = false;
  serves_ = false;
}

void WorkerProcess::note_begun(pid_t child, os::Fd pidfd, os::Fd control) {
  if (pid_ > 0) {
    if (!is_inherited_) ++deaths_;
    ending_.push_back({pid_, std::move(pidfd_)});
  }
  forget();
  pid_ = child;
  pidfd_ = std::move(pidfd);
  control_ = std::move(control);
  started_ = Clock::now();
}

void WorkerProcess::reap_replaced() {
  std::erase_if(ending_, [](const Replaced& one) {
    if (!os::has_ended(one.pidfd.get())) return false;
    ::waitpid(one.pid, nullptr, WNOHANG);
    return true;
  });
}

void WorkerProcess::replace_inherited(pid_t pid, os::Fd pidfd, os::Fd control) {
  pid_ = pid;
  pidfd_ = std::move(pidfd);
  control_ = std::move(control);
  is_replaced_ = true;
  is_inherited_ = true;
  next_start_ = Clock::now();
}

void WorkerProcess::replace() {
  if (pid_ <= 0 || is_replaced_) return;
  is_replaced_ = true;
  next_start_ = Clock::now();
}

int WorkerProcess::lives_in_ms() const {
  if (pid_ <= 0 || is_replaced_) return -1;
  const auto left =
      std::chrono::duration_cast<std::chrono::milliseconds>(started_ + kQuick - Clock::now());
  return static_cast<int>(std::max<std::int64_t>(left.count(), 0)) + 1;
}

int WorkerProcess::next_start_ms() const {
  if (pid_ > 0 && !is_replaced_) return ending_.empty() ? -1 : kReapMs;
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
  if (!message) return std::nullopt;
  if (message->kind == MessageKind::kServes) {
    serves_ = true;
    failure_.reset();
  }
  if (message->kind == MessageKind::kCannotBegin) failure_ = message->text;
  return *message;
}

void WorkerProcess::tell(const ControlMessage& message, std::span<const int> fds) {
  if (pid_ <= 0 || is_replaced_) return;
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
  if (!is_inherited_) ++deaths_;
  const bool could_not_begin =
      is_known && WIFEXITED(status) && WEXITSTATUS(status) == kExitCannotBegin;
  // Why, if that was not received yet: its last message.
  if (could_not_begin && control_.valid()) static_cast<void>(receive());
  forget();
  const Clock::time_point now = Clock::now();
  const bool was_quick = now - started_ < kQuick;
  next_start_ = now;
  if (!was_quick) delay_ = {};
  if (is_known && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) return Death::kOther;
  if (was_quick) delay_next_start();
  if (could_not_begin) return Death::kOther;
  log_(fmt::format("the serving process ended by itself (status {:#x}); it is succeeded",
                   static_cast<unsigned>(status)));
  return was_quick ? Death::kCrashAtOnce : Death::kOther;
}

void WorkerProcess::kill() const {
  if (pid_ > 0) ::kill(pid_, SIGKILL);
}

void WorkerProcess::end() {
  if (pid_ > 0) ending_.push_back({pid_, std::move(pidfd_)});
  forget();
  for (const Replaced& one : ending_) static_cast<void>(os::kill_process(one.pidfd.get()));
  for (const Replaced& one : ending_) {
    // A tracer may hold it: it will end all the same.
    constexpr std::chrono::seconds kLongest{10};
    static_cast<void>(os::wait_for_end(one.pidfd.get(), kLongest));
    ::waitpid(one.pid, nullptr, WNOHANG);
  }
  ending_.clear();
}

}  // namespace lamina::server
