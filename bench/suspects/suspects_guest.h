// A guest for the suspects of page faults: like TouchingGuest, with its userfaultfd and its memory
// as a suspect wants them, several threads, and writes.
#pragma once

#include <linux/userfaultfd.h>
#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "lamina/result.h"
#include "os/fd.h"

namespace lamina::bench {

enum class Backing : std::uint8_t {
  kPrivate,  ///< anonymous, as Firecracker's
  kShared,   ///< anonymous, shared
  kHuge,     ///< anonymous, in huge pages, touched before it is registered
};

enum class Access : std::uint8_t { kRead, kWrite };
/// What a write stores at the touched_offset() of its block.
inline constexpr std::uint64_t kWrittenWord = 0x5555'aaaa'5555'aaaa;

struct BareTask {
  std::uint64_t memory_bytes = 0;
  std::span<const std::uint32_t> touches;  ///< blocks; must outlive the guest
  Backing backing = Backing::kPrivate;
  Access access = Access::kRead;
  std::size_t threads = 1;     ///< that deal the touches out among them
  int cpu = -1;                ///< that it is pinned to; -1: none
  bool measure = false;        ///< time every touch
  std::uint32_t think_ns = 0;  ///< that it computes before each touch
  std::uint64_t features = 0;  ///< of the userfaultfd, beside REMOVE events
  std::uint64_t modes = UFFDIO_REGISTER_MODE_MISSING;
};

class BareGuest {
 public:
  /// Forks the guest; returns when its memory is registered.
  static Result<std::unique_ptr<BareGuest>> start(const BareTask& task);

  BareGuest(const BareGuest&) = delete;
  BareGuest& operator=(const BareGuest&) = delete;
  BareGuest(BareGuest&&) = delete;
  BareGuest& operator=(BareGuest&&) = delete;
  /// Kills it.
  ~BareGuest();

  /// Lets it touch all blocks.
  Status go();
  /// Readable when it has done so. take_done() then must be called once.
  [[nodiscard]] int done_fd() const { return control_.get(); }
  Status take_done();

  [[nodiscard]] int userfaultfd() const { return userfaultfd_.get(); }
  [[nodiscard]] std::uint64_t address() const { return address_; }
  [[nodiscard]] std::uint64_t memory_bytes() const { return memory_bytes_; }
  [[nodiscard]] pid_t pid() const { return process_; }
  /// The sum of the words that all touches have read.
  [[nodiscard]] std::uint64_t sum() const;
  /// What each touch took. REQUIRES: task.measure.
  [[nodiscard]] std::span<const std::uint32_t> nanoseconds() const;

 private:
  struct Shared;

  BareGuest() = default;
  static void touch_share(std::byte* memory, const BareTask& task, std::size_t share,
                          Shared& shared);
  static int run(int control, const BareTask& task, Shared& shared);

  pid_t process_ = -1;
  os::Fd control_;
  os::Fd userfaultfd_;
  std::uint64_t address_ = 0;
  std::uint64_t memory_bytes_ = 0;
  Shared* shared_ = nullptr;
  std::size_t shared_bytes_ = 0;
  std::size_t measured_ = 0;
};

/// How events are waited for.
struct Waiting {
  std::uint64_t spin_ns = 0;        ///< reads again and again for so long before it polls
  std::size_t events_at_once = 16;  ///< that one read may give; 64 at most
};

/// Calls `handle` with every batch of events until the guest has touched all; then the guest's
/// sum(), and its memory, tell whether it was right. A guest that gets nowhere is an error.
Status serve_guest(BareGuest& guest, const Waiting& waiting,
                   const std::function<Status(std::span<const uffd_msg>)>& handle);

/// The features that a userfaultfd has here; 0 where there is none.
std::uint64_t userfaultfd_features();

/// CPU time of the calling thread, in milliseconds.
double thread_cpu_ms();

}  // namespace lamina::bench
