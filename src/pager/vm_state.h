// What outlives the process that serves a VM: a small file, on tmpfs, mapped by whoever serves.
//
// A serving process may be killed at any instruction, and its successor must go on as if nothing
// had happened. So everything that only the serving process could know is kept here:
//
//   the event slots     Events are read from the userfaultfd directly into them, and a slot is
//                       cleared only when its event has had its effect. A read event is gone from
//                       the kernel: had it been in private memory, it would die with the process.
//   the removed blocks  One bit per block that the guest gave back since its resume. Such blocks
//                       are zeros from then on, whatever the snapshot holds.
//   the regions         Where the memory is in the VM's address space.
//   what is served      The snapshot and its pause id, so that a later start can find them.
//   counters            So that figures survive, and can be read from outside.
//
// The slots are locked in memory: a read(2) of events whose copy-out faults loses the event, and a
// page that has to be had first is where a SIGKILL can hit. All storage is set aside when the file
// is made, so that no later store can meet a full file system. What is set aside goes by the VM's
// regions, not by what the snapshot says of its size: the rest is a hole that is never touched.
//
// Layout (host byte order; the file never leaves its machine): a page of fixed fields, a page of
// event slots, a page with the snapshot's path, the removed bits, the recorded blocks.
#pragma once

#include <linux/userfaultfd.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "lamina/result.h"
#include "lamina/uuid.h"
#include "os/fd.h"
#include "os/shared_mapping.h"
#include "pager/regions.h"

namespace lamina::pager {

/// One number that a single thread writes and anybody reads. Moving is copying.
class Counter {  // NOLINT(cppcoreguidelines-special-member-functions)
 public:
  Counter() = default;
  Counter(const Counter& other) : value_(other.get()) {}
  Counter& operator=(const Counter& other) {
    set(other.get());
    return *this;
  }
  ~Counter() = default;

  void add(std::uint64_t more) {
    value_.store(value_.load(std::memory_order_relaxed) + more, std::memory_order_relaxed);
  }
  void set(std::uint64_t value) { value_.store(value, std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t get() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

/// Upper bounds of the latency histogram are 1, 2, 4 ... microseconds; the last bucket has none.
inline constexpr std::size_t kLatencyBuckets = 24;

/// What has been done for a VM, over all processes that served it.
struct VmCounters {
  Counter data_faults;      ///< faults answered from layers
  Counter zero_faults;      ///< faults answered with zeros
  Counter present_faults;   ///< faults whose page was there when they were served
  Counter data_bytes;       ///< filled from layers, for faults and by populating
  Counter zero_bytes;       ///< filled with zeros, likewise
  Counter removes;          ///< REMOVE events
  Counter reread_events;    ///< fills that had to read events first
  Counter read_retries;     ///< reads of a layer that failed or did not match, tried again
  Counter populated_bytes;  ///< looked at by populating, present ones included
  Counter resumptions;      ///< processes that took the VM over from a predecessor
  Counter latency_sum_ns;   ///< from reading a fault's event to its page being there
  std::array<Counter, kLatencyBuckets> latency;
};

/// What is known about a VM when its session begins.
struct VmRecord {
  std::int32_t pid = -1;
  std::uint64_t start_time = 0;   ///< of the process, as in /proc/PID/stat: a pid can come again
  std::int32_t userfaultfd = -1;  ///< its number in that process; -1 when not known
  std::uint64_t memory_bytes = 0;
  std::vector<Region> regions;
  Uuid pause_id;
  std::string snapshot;  ///< absolute path
  /// Until when first touches are noted (os::monotonic_ns); 0: they are not, and have no storage.
  std::uint64_t record_until_ns = 0;
};

/// Blocks that a recording notes at most: 256 MiB of first touches.
inline constexpr std::uint32_t kMaxRecordedBlocks = 65536;

/// The mapped file. Movable; the memory stays where it is.
class VmState {
 public:
  /// Event slots of each of the two kinds.
  static constexpr std::size_t kSlots = 16;

  /// Makes the file `name`, all of its storage included: kNoSpace when there is none, or when one
  /// VM would take more than a sixteenth of the file system (1 MiB where that is less).
  static Result<VmState> create(int directory, const std::string& name, const VmRecord& record,
                                const std::string& object);

  /// Maps an existing file and checks that it is one: kCorrupt otherwise.
  static Result<VmState> attach(int fd, const std::string& object);

  /// Locks the slots in the memory of this process: neither an attached state nor a child of the
  /// process that has it inherits that.
  void lock_slots() const;

  [[nodiscard]] const VmRecord& record() const { return record_; }
  [[nodiscard]] VmCounters& counters() const;
  /// The slots that waiting events are read into, and those for events that a fill has to read.
  [[nodiscard]] std::span<uffd_msg> slots() const;
  [[nodiscard]] std::span<uffd_msg> reread_slots() const;
  /// One for each block. REQUIRES: only those of blocks in a region are looked at.
  [[nodiscard]] std::span<std::uint64_t> removed_bits() const;
  /// Where populating goes on, in the terms of Session.
  [[nodiscard]] Counter& populate_position() const;
  /// The blocks that were touched first, in order; the first recorded_count() of them are set.
  [[nodiscard]] std::span<std::uint32_t> recorded_blocks() const;
  [[nodiscard]] Counter& recorded_count() const;
  /// Not 0 when what was recorded has been stored.
  [[nodiscard]] Counter& recording_stored() const;

 private:
  VmState(os::SharedMapping mapping, VmRecord record)
      : mapping_(std::move(mapping)), record_(std::move(record)) {}

  os::SharedMapping mapping_;
  VmRecord record_;
};

}  // namespace lamina::pager
