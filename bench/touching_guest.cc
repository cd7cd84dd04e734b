#include "touching_guest.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <thread>

#include "base/block.h"
#include "base/error.h"
#include "os/clock.h"
#include "os/peer.h"
#include "os/process.h"
#include "pager/handshake.h"
#include "stand_ins/guest_process.h"
#include "stand_ins/sockets.h"

namespace lamina::bench {
namespace {

struct Order {
  std::uint64_t first = 0;
  std::uint64_t count = 0;
};

void pin(int cpu) {
  if (cpu < 0) return;
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<std::size_t>(cpu), &set);
  static_cast<void>(::sched_setaffinity(0, sizeof(set), &set));
}

std::uint64_t touch(const std::byte* memory, std::uint32_t block) {
  return *reinterpret_cast<const volatile std::uint64_t*>(memory + block * kBlockBytes +
                                                          touched_offset(block));
}

/// In the guest, which has no way to report.
std::byte* map_file(const std::string& path, std::size_t bytes) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
  if (memory == MAP_FAILED) ::_exit(1);
  return static_cast<std::byte*>(memory);
}

}  // namespace

void TouchingGuest::touch_share(const std::byte* memory, const GuestTask& task, std::size_t first,
                                std::size_t end, Shared& shared) {
  std::uint64_t sum = 0;
  for (std::size_t i = first; i < end; i += task.threads) {
    if (task.measure) {
      const std::uint64_t start = os::monotonic_ns();
      sum += touch(memory, task.touches[i]);
      shared.nanoseconds[i] = static_cast<std::uint32_t>(os::monotonic_ns() - start);
    } else {
      sum += touch(memory, task.touches[i]);
    }
  }
  std::atomic_ref(shared.sum).fetch_add(sum);
}

int TouchingGuest::run(int control, std::byte* memory, const GuestTask& task, Shared& shared) {
  pin(task.cpu);  // and with it the threads to come
  if (!task.mapped_file.empty()) memory = map_file(task.mapped_file, task.memory_bytes);
  char done = 'r';
  Order order;
  while (::write(control, &done, 1) == 1 &&
         ::read(control, &order, sizeof(order)) == sizeof(order)) {
    shared.sum = 0;
    const std::uint64_t end = order.first + order.count;
    std::vector<std::thread> threads;
    for (std::size_t share = 1; share < task.threads; ++share) {
      threads.emplace_back(
          [&, share] { touch_share(memory, task, order.first + share, end, shared); });
    }
    touch_share(memory, task, order.first, end, shared);
    for (std::thread& thread : threads) thread.join();
  }
  return 0;
}

Result<std::unique_ptr<TouchingGuest>> TouchingGuest::start(const std::string& socket,
                                                            const GuestTask& task) {
  std::unique_ptr<TouchingGuest> guest(new TouchingGuest);
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    return system_failure("socketpair", "guest", errno);
  }
  guest->control_ = os::Fd(ends[0]);
  os::Fd theirs(ends[1]);
  guest->touch_count_ = task.measure ? task.touches.size() : 0;
  guest->shared_bytes_ = sizeof(Shared) + guest->touch_count_ * sizeof(std::uint32_t);
  void* shared = ::mmap(nullptr, guest->shared_bytes_, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) return system_failure("mmap", "guest", errno);
  guest->shared_ = static_cast<Shared*>(shared);
  std::memset(shared, 0, guest->shared_bytes_);
  guest->process_ = tests::start_guest(
      socket, {{task.memory_bytes}, false, true},
      [&, ours = ends[0], control = ends[1]](std::span<tests::GuestRegion> regions) {
        ::close(ours);
        // The parent's pages are shared with it: written here, so that no touch has to copy one.
        std::memset(shared, 0, guest->shared_bytes_);
        return run(control, regions[0].memory, task, *guest->shared_);
      });
  if (guest->process_ < 0) return system_failure("fork", "guest", errno);
  theirs.reset();  // so that its death is seen
  LAMINA_RETURN_IF_ERROR(guest->take_done());
  return guest;
}

TouchingGuest::~TouchingGuest() {
  control_.reset();
  if (process_ > 0) {
    ::kill(process_, SIGKILL);
    while (::waitpid(process_, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  if (shared_ != nullptr) ::munmap(shared_, shared_bytes_);
}

Status TouchingGuest::go(std::size_t first, std::size_t count) {
  const Order order{first, count};
  if (::send(control_.get(), &order, sizeof(order), MSG_NOSIGNAL) == sizeof(order)) return {};
  return system_failure("send", "guest", errno);
}

Status TouchingGuest::take_done() {
  char done = 0;
  ssize_t count = 0;
  do {
    count = ::read(control_.get(), &done, 1);
  } while (count < 0 && errno == EINTR);
  if (count == 1) return {};
  return fail(ErrorKind::kFailed, "the guest of a benchmark has died");
}

std::span<const std::uint32_t> TouchingGuest::nanoseconds() const {
  return {static_cast<const std::uint32_t*>(shared_->nanoseconds), touch_count_};
}

Result<std::unique_ptr<ConnectedGuest>> connect_guest(const GuestTask& task) {
  constexpr std::chrono::seconds kTimeout{20};
  auto connected = std::make_unique<ConnectedGuest>();
  const std::string path = socket_path("guest");
  ::unlink(path.c_str());
  const os::Fd listener(tests::listen_at(path));
  if (!listener.valid()) return system_failure("listen", path, errno);
  auto guest = TouchingGuest::start(path, task);
  ::unlink(path.c_str());
  if (!guest) return std::unexpected(guest.error());
  connected->guest = std::move(*guest);
  connected->connection = os::Fd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  LAMINA_ASSIGN_OR_RETURN(pager::Handshake handshake,
                          pager::receive_handshake(connected->connection.get(), kTimeout));
  LAMINA_ASSIGN_OR_RETURN(const auto table,
                          pager::RegionTable::decode(handshake.regions_json, task.memory_bytes));
  connected->region = table.regions().front();
  connected->userfaultfd = std::move(handshake.userfaultfd);
  LAMINA_ASSIGN_OR_RETURN(const os::Peer peer, os::peer_of(connected->connection.get()));
  connected->pid = peer.pid;
  LAMINA_ASSIGN_OR_RETURN(connected->pidfd, os::open_process(peer.pid));
  return connected;
}

Pinned::Pinned(int cpu) {
  if (cpu < 0) return;
  before_.resize(sizeof(cpu_set_t));
  ::sched_getaffinity(0, before_.size(), reinterpret_cast<cpu_set_t*>(before_.data()));
  pin(cpu);
}

Pinned::~Pinned() {
  if (before_.empty()) return;
  ::sched_setaffinity(0, before_.size(), reinterpret_cast<cpu_set_t*>(before_.data()));
}

CpuPair usable_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  static_cast<void>(::sched_getaffinity(0, sizeof(set), &set));
  CpuPair pair{-1, -1};
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(static_cast<std::size_t>(cpu), &set)) continue;
    if (pair.first < 0) pair.first = cpu;
    pair.last = cpu;
  }
  return pair;
}

std::string socket_path(const std::string& name) {
  return (std::filesystem::temp_directory_path() /
          fmt::format("lamina-bench-{}-{}", ::getpid(), name))
      .string();
}

}  // namespace lamina::bench
