// The raw system calls of io_uring, as far as reads and writes of files need them.
#pragma once

#include <linux/io_uring.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <span>

#include "lamina/result.h"
#include "os/fd.h"

namespace lamina::bench {

class IoUring {
 public:
  /// REQUIRES: entries is a power of two. An error says that this kernel or its settings have none.
  static Result<IoUring> create(unsigned entries);
  IoUring(IoUring&& other) noexcept;
  IoUring& operator=(IoUring&&) = delete;
  IoUring(const IoUring&) = delete;
  IoUring& operator=(const IoUring&) = delete;
  /// Waits for what is in flight, so that buffers may go.
  ~IoUring();

  [[nodiscard]] unsigned in_flight() const { return in_flight_; }

  /// Queue a request that next() will report with `id`. REQUIRES: fewer than `entries` in flight.
  void read(int fd, std::span<std::byte> buffer, std::uint64_t offset, std::uint64_t id);
  void write(int fd, std::span<const std::byte> buffer, std::uint64_t offset, std::uint64_t id);

  struct Completion {
    std::uint64_t id = 0;
    std::int32_t result = 0;  ///< bytes, or the negative error number
  };
  /// Submits what is queued and waits for a completion. REQUIRES: in_flight() > 0.
  Result<Completion> next();

 private:
  IoUring() = default;

  io_uring_sqe& queue(int fd, std::uint64_t offset, std::uint64_t id);
  Status enter(unsigned wait_for);
  std::optional<Completion> take();

  /// The unsigned at `offset` of the ring, which the kernel reads and writes as well.
  [[nodiscard]] unsigned& at(unsigned offset) const;

  os::Fd fd_;
  io_uring_params parameters_{};
  std::span<std::byte> ring_;
  std::span<io_uring_sqe> entries_;
  unsigned queued_ = 0;
  unsigned in_flight_ = 0;
};

}  // namespace lamina::bench
