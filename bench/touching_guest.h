// A guest for benchmarks of page faults: a process with memory of its own in a userfaultfd, that
// touches blocks when it is told to and says how long each took.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "lamina/result.h"
#include "os/fd.h"
#include "pager/regions.h"

namespace lamina::bench {

struct GuestTask {
  std::uint64_t memory_bytes = 0;
  std::span<const std::uint32_t> touches;  ///< blocks, in order; must outlive the start
  int cpu = -1;                            ///< that it is pinned to; -1: none
  bool measure = false;                    ///< time every touch
  std::string mapped_file;  ///< not empty: its memory is a private mapping of this file instead
  std::size_t threads = 1;  ///< that deal the touches out among them
};

/// One word of a block, another one in every block: what a touch reads.
constexpr std::size_t touched_offset(std::uint32_t block) {
  constexpr std::size_t kStep = 72;
  return block * kStep % 4096;
}

class TouchingGuest {
 public:
  /// Forks the guest, which connects to the listening socket and sends its handshake; returns when
  /// it has.
  static Result<std::unique_ptr<TouchingGuest>> start(const std::string& socket,
                                                      const GuestTask& task);

  TouchingGuest(const TouchingGuest&) = delete;
  TouchingGuest& operator=(const TouchingGuest&) = delete;
  TouchingGuest(TouchingGuest&&) = delete;
  TouchingGuest& operator=(TouchingGuest&&) = delete;
  /// Kills it.
  ~TouchingGuest();

  /// Lets it touch `count` of the task's blocks from number `first` on.
  Status go(std::size_t first, std::size_t count);
  /// Readable when it has done so. take_done() then must be called once; before, it waits.
  [[nodiscard]] int done_fd() const { return control_.get(); }
  Status take_done();

  /// The sum of the words that the last go() has read.
  [[nodiscard]] std::uint64_t sum() const { return shared_->sum; }
  /// What each touch took. REQUIRES: task.measure.
  [[nodiscard]] std::span<const std::uint32_t> nanoseconds() const;

 private:
  struct Shared {
    std::uint64_t sum;
    std::uint32_t nanoseconds[1];  // NOLINT: as many as there are touches
  };

  TouchingGuest() = default;
  /// Every task.threads-th of the touches from `first` to `end`.
  static void touch_share(const std::byte* memory, const GuestTask& task, std::size_t first,
                          std::size_t end, Shared& shared);
  static int run(int control, std::byte* memory, const GuestTask& task, Shared& shared);

  pid_t process_ = -1;
  os::Fd control_;
  Shared* shared_ = nullptr;
  std::size_t shared_bytes_ = 0;
  std::size_t touch_count_ = 0;
};

/// A guest whose handshake this process has received.
struct ConnectedGuest {
  std::unique_ptr<TouchingGuest> guest;
  os::Fd connection;
  os::Fd userfaultfd;
  os::Fd pidfd;
  pid_t pid = -1;
  pager::Region region;
};
Result<std::unique_ptr<ConnectedGuest>> connect_guest(const GuestTask& task);

/// Pins the calling thread to a CPU while this lives; -1: does nothing.
class Pinned {
 public:
  explicit Pinned(int cpu);
  Pinned(const Pinned&) = delete;
  Pinned& operator=(const Pinned&) = delete;
  ~Pinned();

 private:
  std::vector<std::byte> before_;
};

/// The first and the last CPU that this process may use.
struct CpuPair {
  int first = 0;
  int last = 0;
};
CpuPair usable_cpus();

/// A name for a socket, short enough for its address.
std::string socket_path(const std::string& name);

}  // namespace lamina::bench
