#include "io_uring.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/error.h"

namespace lamina::bench {
namespace {

Result<std::span<std::byte>> map_ring(int fd, std::size_t bytes, off_t offset) {
  void* memory =
      ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, offset);
  if (memory == MAP_FAILED) return system_failure("mmap", "io_uring", errno);
  return std::span(static_cast<std::byte*>(memory), bytes);
}

}  // namespace

Result<IoUring> IoUring::create(unsigned entries) {
  IoUring ring;
  const long fd = ::syscall(__NR_io_uring_setup, entries, &ring.parameters_);
  if (fd < 0) return system_failure("io_uring_setup", "io_uring", errno);
  ring.fd_ = os::Fd(static_cast<int>(fd));
  const io_uring_params& parameters = ring.parameters_;
  if ((parameters.features & IORING_FEAT_SINGLE_MMAP) == 0) {
    return fail(ErrorKind::kFailed, "this kernel's io_uring is too old");
  }
  const std::size_t submissions =
      parameters.sq_off.array + parameters.sq_entries * sizeof(unsigned);
  const std::size_t completions =
      parameters.cq_off.cqes + parameters.cq_entries * sizeof(io_uring_cqe);
  LAMINA_ASSIGN_OR_RETURN(
      ring.ring_, map_ring(ring.fd_.get(), std::max(submissions, completions), IORING_OFF_SQ_RING));
  LAMINA_ASSIGN_OR_RETURN(
      const auto memory,
      map_ring(ring.fd_.get(), parameters.sq_entries * sizeof(io_uring_sqe), IORING_OFF_SQES));
  ring.entries_ =
      std::span(reinterpret_cast<io_uring_sqe*>(memory.data()), parameters.sq_entries);  // NOLINT
  return ring;
}

IoUring::IoUring(IoUring&& other) noexcept
    : fd_(std::move(other.fd_)),
      parameters_(other.parameters_),
      ring_(std::exchange(other.ring_, {})),
      entries_(std::exchange(other.entries_, {})),
      queued_(std::exchange(other.queued_, 0)),
      in_flight_(std::exchange(other.in_flight_, 0)) {}

IoUring::~IoUring() {
  while (in_flight_ > 0 && next()) {
  }
  if (!entries_.empty()) ::munmap(entries_.data(), entries_.size_bytes());
  if (!ring_.empty()) ::munmap(ring_.data(), ring_.size());
}

unsigned& IoUring::at(unsigned offset) const {
  return *reinterpret_cast<unsigned*>(&ring_[offset]);  // NOLINT: memory that the kernel laid out
}

io_uring_sqe& IoUring::queue(int fd, std::uint64_t offset, std::uint64_t id) {
  unsigned& tail = at(parameters_.sq_off.tail);
  const unsigned index = tail & at(parameters_.sq_off.ring_mask);
  io_uring_sqe& entry = entries_[index];
  std::memset(&entry, 0, sizeof(entry));
  entry.fd = fd;
  entry.off = offset;
  entry.user_data = id;
  at(parameters_.sq_off.array + index * static_cast<unsigned>(sizeof(unsigned))) = index;
  // The kernel looks only when it is entered by this thread: no other order is needed.
  std::atomic_ref(tail).store(tail + 1, std::memory_order_release);
  ++queued_;
  ++in_flight_;
  return entry;
}

void IoUring::read(int fd, std::span<std::byte> buffer, std::uint64_t offset, std::uint64_t id) {
  io_uring_sqe& entry = queue(fd, offset, id);
  entry.opcode = IORING_OP_READ;
  entry.addr = reinterpret_cast<std::uint64_t>(buffer.data());  // NOLINT
  entry.len = static_cast<std::uint32_t>(buffer.size());
}

void IoUring::write(int fd, std::span<const std::byte> buffer, std::uint64_t offset,
                    std::uint64_t id) {
  io_uring_sqe& entry = queue(fd, offset, id);
  entry.opcode = IORING_OP_WRITE;
  entry.addr = reinterpret_cast<std::uint64_t>(buffer.data());  // NOLINT
  entry.len = static_cast<std::uint32_t>(buffer.size());
}

Status IoUring::enter(unsigned wait_for) {
  while (true) {
    const long submitted = ::syscall(__NR_io_uring_enter, fd_.get(), queued_, wait_for,
                                     IORING_ENTER_GETEVENTS, nullptr, 0);
    if (submitted >= 0) {
      queued_ -= static_cast<unsigned>(submitted);
      return {};
    }
    if (errno != EINTR) return system_failure("io_uring_enter", "io_uring", errno);
  }
}

std::optional<IoUring::Completion> IoUring::take() {
  unsigned& head = at(parameters_.cq_off.head);
  if (std::atomic_ref(at(parameters_.cq_off.tail)).load(std::memory_order_acquire) == head) {
    return std::nullopt;
  }
  const unsigned index = head & at(parameters_.cq_off.ring_mask);
  io_uring_cqe entry{};
  std::memcpy(&entry, &ring_[parameters_.cq_off.cqes + index * sizeof(entry)], sizeof(entry));
  std::atomic_ref(head).store(head + 1, std::memory_order_release);
  --in_flight_;
  return Completion{entry.user_data, entry.res};
}

Result<IoUring::Completion> IoUring::next() {
  while (true) {
    if (const auto completion = take()) return *completion;
    LAMINA_RETURN_IF_ERROR(enter(1));
  }
}

}  // namespace lamina::bench
