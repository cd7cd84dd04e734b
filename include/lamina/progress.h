// Progress and interruption of long operations.
#pragma once

#include <cstdint>
#include <string_view>

namespace lamina {

/// A long operation reports its progress to this, and asks it whether to stop. The caller keeps the
/// object until the operation has returned. All calls of one operation come one at a time, from the
/// thread that runs it: the caller's, unless the operation's options say otherwise (compact() in
/// the background, recover()). Use one object for one operation at a time, or make it thread-safe.
/// Implementations should return at once and should not throw.
///
/// Not every operation reports: pause(), remove_snapshots() and examine() only ask whether to stop,
/// and resume() reports only a materialized file.
class Progress {
 public:
  Progress() = default;
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  Progress(Progress&&) = delete;
  Progress& operator=(Progress&&) = delete;
  virtual ~Progress() = default;

  /// A phase starts that will move `total_bytes`; an operation has any number of phases. `phase` is
  /// a word or two for a person, valid during the call.
  virtual void begin(std::string_view phase, std::uint64_t total_bytes) = 0;

  /// `bytes` more of the current phase are done: `total_bytes` in all, unless the operation fails.
  virtual void advance(std::uint64_t bytes) = 0;

  /// True if the operation should stop. It then removes what it has made and fails with
  /// ErrorKind::kInterrupted. (remove_snapshots() and recover() keep what they have finished.) It
  /// is asked between steps. A step reads at most 256 KiB, or lets the kernel copy or clone at most
  /// 64 MiB in a merge; the clone of an extent of any length, and the sync of a file, are one step
  /// each. It is not asked once the result is being published.
  [[nodiscard]] virtual bool interrupted() = 0;
};

}  // namespace lamina
