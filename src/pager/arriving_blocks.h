// The blocks of a snapshot that is still being fetched, as a session sees them.
//
// A session asks for blocks that are not here and goes on; it never waits. When something may have
// arrived, fd() becomes readable. Whatever is lost on the way (a message, the fetcher) is made good
// by asking again: tick() says when.
#pragma once

#include <cstdint>
#include <optional>

#include "base/run.h"

namespace lamina::pager {

/// Used by the thread that owns the session. No function blocks, and none throws.
class ArrivingBlocks {
 public:
  ArrivingBlocks() = default;
  ArrivingBlocks(const ArrivingBlocks&) = delete;
  ArrivingBlocks& operator=(const ArrivingBlocks&) = delete;
  ArrivingBlocks(ArrivingBlocks&&) = delete;
  ArrivingBlocks& operator=(ArrivingBlocks&&) = delete;
  virtual ~ArrivingBlocks() = default;

  /// True if every block of `run` is here, zeros included. Such a block was checked before it was
  /// written, and is checked again when it is read.
  [[nodiscard]] virtual bool are_here(const BlockRun& run) const noexcept = 0;
  /// True if all blocks are here for good: then a block that does not match its checksum is
  /// damaged, and not one that a power failure has taken.
  [[nodiscard]] virtual bool is_whole() const noexcept = 0;
  /// True if the rest can never be fetched.
  [[nodiscard]] virtual bool is_lost() const noexcept = 0;

  /// Asks for the blocks. `is_damaged`: they count as here, and do not match their checksums.
  virtual void ask(const BlockRun& run, bool is_damaged) noexcept = 0;
  /// How often the fetcher has answered. A damaged block stays as it is until then: a fetcher that
  /// has just begun checks all that it has before it answers anything.
  [[nodiscard]] virtual std::uint64_t answers() const noexcept = 0;

  /// Readable when something may have arrived. Stays the same.
  [[nodiscard]] virtual int fd() const noexcept = 0;
  /// Reads what fd() announced.
  virtual void handle() noexcept = 0;

  /// When tick() must be called (os::monotonic_ns); nullopt: never.
  [[nodiscard]] virtual std::optional<std::uint64_t> next_tick_ns() const noexcept = 0;
  /// Renews the connection to the fetcher. True if all blocks that are still needed must be asked
  /// for again.
  virtual bool tick(std::uint64_t now_ns) noexcept = 0;

  /// How long a fault may wait for its block; 0: without limit.
  [[nodiscard]] virtual std::uint64_t wait_limit_ns() const noexcept = 0;
};

}  // namespace lamina::pager
