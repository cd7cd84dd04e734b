#include "suspects_guest.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "base/block.h"
#include "base/error.h"
#include "fake_firecracker.h"
#include "os/clock.h"
#include "os/unix_socket.h"
#include "os/userfaultfd.h"
#include "touching_guest.h"

namespace lamina::bench {
namespace {

constexpr int kPatienceMs = 20'000;

/// In the guest, which has no way to report.
std::byte* map_memory(const BareTask& task, int userfaultfd) {
  const int sharing = task.backing == Backing::kShared ? MAP_SHARED : MAP_PRIVATE;
  constexpr std::uint64_t kAlignment = std::uint64_t{2} << 20;
  void* mapped = ::mmap(nullptr, task.memory_bytes + kAlignment, PROT_READ | PROT_WRITE,
                        sharing | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) ::_exit(1);
  const auto place = reinterpret_cast<std::uint64_t>(mapped);
  auto* memory = static_cast<std::byte*>(mapped) + (kAlignment - place % kAlignment) % kAlignment;
  if (task.backing == Backing::kHuge) {
    ::madvise(memory, task.memory_bytes, MADV_HUGEPAGE);
    std::memset(memory, 1, task.memory_bytes);
  }
  uffdio_register registration{};
  registration.range = {reinterpret_cast<std::uint64_t>(memory), task.memory_bytes};
  registration.mode = task.modes;
  if (::ioctl(userfaultfd, UFFDIO_REGISTER, &registration) != 0) ::_exit(1);
  return memory;
}

void compute_for(std::uint32_t nanoseconds) {
  const std::uint64_t end = os::monotonic_ns() + nanoseconds;
  while (os::monotonic_ns() < end) {
  }
}

std::uint64_t touch(std::byte* memory, std::uint32_t block, Access access) {
  auto* word = reinterpret_cast<volatile std::uint64_t*>(memory + block * kBlockBytes +
                                                         touched_offset(block));
  if (access == Access::kRead) return *word;
  *word = kWrittenWord;
  return 0;
}

}  // namespace

struct BareGuest::Shared {
  std::atomic<std::uint64_t> sum;
  std::uint32_t nanoseconds[1];  // NOLINT: as many as there are touches
};

void BareGuest::touch_share(std::byte* memory, const BareTask& task, std::size_t share,
                            Shared& shared) {
  std::uint64_t sum = 0;
  for (std::size_t i = share; i < task.touches.size(); i += task.threads) {
    if (task.think_ns != 0) compute_for(task.think_ns);
    const std::uint64_t start = task.measure ? os::monotonic_ns() : 0;
    sum += touch(memory, task.touches[i], task.access);
    if (task.measure) {
      shared.nanoseconds[i] = static_cast<std::uint32_t>(os::monotonic_ns() - start);
    }
  }
  shared.sum += sum;
}

int BareGuest::run(int control, const BareTask& task, Shared& shared) {
  if (task.cpu >= 0) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(static_cast<std::size_t>(task.cpu), &set);
    static_cast<void>(::sched_setaffinity(0, sizeof(set), &set));
  }
  const int userfaultfd = tests::open_userfaultfd(task.features);
  std::byte* memory = map_memory(task, userfaultfd);
  const std::array<int, 1> descriptors = {userfaultfd};
  const std::string address = fmt::format("{}", reinterpret_cast<std::uint64_t>(memory));
  if (!tests::send_with_descriptors(control, address, descriptors)) return 1;
  char order = 0;
  while (::read(control, &order, 1) == 1) {
    std::vector<std::thread> threads;
    for (std::size_t share = 1; share < task.threads; ++share) {
      threads.emplace_back([&, share] { touch_share(memory, task, share, shared); });
    }
    touch_share(memory, task, 0, shared);
    for (std::thread& thread : threads) thread.join();
    if (::write(control, &order, 1) != 1) return 1;
  }
  return 0;
}

Result<std::unique_ptr<BareGuest>> BareGuest::start(const BareTask& task) {
  std::unique_ptr<BareGuest> guest(new BareGuest);
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    return system_failure("socketpair", "guest", errno);
  }
  guest->control_ = os::Fd(ends[0]);
  os::Fd theirs(ends[1]);
  guest->memory_bytes_ = task.memory_bytes;
  guest->measured_ = task.measure ? task.touches.size() : 0;
  guest->shared_bytes_ = sizeof(Shared) + guest->measured_ * sizeof(std::uint32_t);
  void* shared = ::mmap(nullptr, guest->shared_bytes_, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) return system_failure("mmap", "guest", errno);
  std::memset(shared, 0, guest->shared_bytes_);
  guest->shared_ = static_cast<Shared*>(shared);
  guest->process_ = ::fork();
  if (guest->process_ < 0) return system_failure("fork", "guest", errno);
  if (guest->process_ == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::close(ends[0]);
    ::_exit(run(ends[1], task, *guest->shared_));
  }
  theirs.reset();  // so that its death is seen
  constexpr std::size_t kMostBytes = 64;
  LAMINA_ASSIGN_OR_RETURN(os::Message message,
                          os::receive_message(guest->control_.get(), kMostBytes));
  if (message.fds.size() != 1) {
    return fail(ErrorKind::kFailed, "a guest could not register its memory");
  }
  guest->userfaultfd_ = std::move(message.fds.front());
  guest->address_ = std::stoull(
      std::string(reinterpret_cast<const char*>(message.bytes.data()), message.bytes.size()));
  return guest;
}

BareGuest::~BareGuest() {
  control_.reset();
  if (process_ > 0) {
    ::kill(process_, SIGKILL);
    while (::waitpid(process_, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  if (shared_ != nullptr) ::munmap(shared_, shared_bytes_);
}

Status BareGuest::go() {
  if (::send(control_.get(), "g", 1, MSG_NOSIGNAL) == 1) return {};
  return system_failure("send", "guest", errno);
}

Status BareGuest::take_done() {
  char done = 0;
  if (::recv(control_.get(), &done, 1, 0) == 1) return {};
  return fail(ErrorKind::kFailed, "the guest of a suspect has died");
}

std::uint64_t BareGuest::sum() const { return shared_->sum; }

std::span<const std::uint32_t> BareGuest::nanoseconds() const {
  return {static_cast<const std::uint32_t*>(shared_->nanoseconds), measured_};
}

Status serve_guest(BareGuest& guest, const Waiting& waiting,
                   const std::function<Status(std::span<const uffd_msg>)>& handle) {
  constexpr std::size_t kMostEvents = 64;
  std::array<uffd_msg, kMostEvents> slots{};
  const auto events = std::span(slots).first(waiting.events_at_once);
  std::array<pollfd, 2> descriptors = {pollfd{guest.userfaultfd(), POLLIN, 0},
                                       pollfd{guest.done_fd(), POLLIN, 0}};
  std::uint64_t spin_end = 0;
  while (true) {
    std::size_t count = 0;
    do {
      LAMINA_ASSIGN_OR_RETURN(count, os::uffd_read(guest.userfaultfd(), events));
    } while (count == 0 && waiting.spin_ns != 0 && os::monotonic_ns() < spin_end);
    if (count > 0) {
      LAMINA_RETURN_IF_ERROR(handle(events.first(count)));
      if (waiting.spin_ns != 0) {
        spin_end = os::monotonic_ns() + waiting.spin_ns;
        continue;
      }
    }
    const int ready = ::poll(descriptors.data(), descriptors.size(), kPatienceMs);
    if (ready < 0 && errno != EINTR) return system_failure("poll", "guest", errno);
    if (ready == 0) return fail(ErrorKind::kFailed, "the guest of a suspect gets nowhere");
    if (ready > 0 && descriptors[1].revents != 0) return guest.take_done();
  }
}

std::uint64_t userfaultfd_features() {
  const os::Fd fd(static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK)));
  uffdio_api api{};
  api.api = UFFD_API;
  if (!fd.valid() || ::ioctl(fd.get(), UFFDIO_API, &api) != 0) return 0;
  return api.features;
}

double thread_cpu_ms() {
  constexpr double kMsPerSecond = 1e3;
  constexpr double kNsPerMs = 1e6;
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * kMsPerSecond +
         static_cast<double>(now.tv_nsec) / kNsPerMs;
}

}  // namespace lamina::bench
