// State of a VM that outlives the process that serves it: a small file on tmpfs that the serving
// process maps.
//
// A serving process may be killed at any instruction, and its successor must continue as if nothing
// had happened. So all state that only the serving process has is kept here:
//
//   event slots      Events are read from the userfaultfd directly into them, and cleared only
//                    after they were handled. The kernel forgets an event once it is read, so in
//                    private memory it would be lost with the process.
//   removed blocks   One bit per block that the guest gave back since its resume. These blocks are
//                    zeros from then on, whatever the snapshot contains.
//   regions          Location of the memory in the VM's address space.
//   snapshot         Path and pause id, so that a restarted server can find them.
//   counters         So that they survive, and can be read by other processes.
//
// The slots are locked in memory: if copying an event out faults, read(2) loses the event, and a
// SIGKILL can hit while the page is allocated. All storage is allocated when the file is created,
// so that later stores cannot hit a full file system. The allocation covers the VM's regions, not
// the size that the snapshot claims; the rest is a hole that is never touched.
//
// Layout (host byte order; the file stays on its machine): a page of fixed fields, a page of event
// slots, a page with the snapshot's path, the removed bits, the recorded blocks.
#pragma once

#include <linux/userfaultfd.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "lamina/result.h"
#include "lamina/uuid.h"
#include "os/fd.h"
#include "os/shared_mapping.h"
#include "pager/regions.h"

namespace lamina::pager {

/// A number that one thread writes and any thread or process reads.
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

/// Upper bounds of the latency histogram: 1, 2, 4 ... microseconds; the last bucket has none.
inline constexpr std::size_t kLatencyBuckets = 24;

/// Counters of a VM, over all processes that served it.
struct VmCounters {
  Counter data_faults;      ///< faults served from layers
  Counter zero_faults;      ///< faults served with zeros
  Counter present_faults;   ///< faults whose page was already present
  Counter data_bytes;       ///< filled from layers, for faults and by populating
  Counter zero_bytes;       ///< filled with zeros, likewise
  Counter removes;          ///< REMOVE events
  Counter reread_events;    ///< fills that had to read events first
  Counter read_retries;     ///< layer reads that failed or did not match, and were retried
  Counter populated_bytes;  ///< processed by populating, including pages already present
  Counter resumptions;      ///< processes that took the VM over from a predecessor
  Counter latency_sum_ns;   ///< from reading a fault's event to its page being present
  std::array<Counter, kLatencyBuckets> latency;
};

/// Upper bounds of the histogram of waits: 1, 2, 4 ... milliseconds; the last bucket has none.
inline constexpr std::size_t kWaitBuckets = 20;

/// Faults whose blocks had yet to be fetched from a bucket, over all processes that served the VM.
/// A wait that a successor takes over begins anew.
struct NetworkWaits {
  Counter waiting;  ///< pages that wait now
  Counter sum_ns;   ///< of the waits that have ended: from the fault to its page being present
  std::array<Counter, kWaitBuckets> buckets;
};

/// Facts about a VM, fixed when its session begins.
struct VmRecord {
  std::int32_t pid = -1;
  std::uint64_t start_time = 0;   ///< of the process (/proc/PID/stat), because pids are reused
  std::int32_t userfaultfd = -1;  ///< descriptor number in that process; -1 if unknown
  std::uint64_t memory_bytes = 0;
  std::vector<Region> regions;
  Uuid pause_id;
  std::string snapshot;  ///< absolute path
  /// Until when first touches are recorded (os::monotonic_ns). 0: never; no storage is allocated.
  std::uint64_t record_until_ns = 0;
  /// Only faults of data are recorded, at most kMaxNotedFaults, and pages around them are filled.
  bool record_faults_only = false;
};

/// Maximum number of recorded blocks: 256 MiB of first touches.
inline constexpr std::uint32_t kMaxRecordedBlocks = 65536;
/// The same if only faults are recorded: at least 170 MiB, because a window of 64 KiB faults at
/// most three times. 32 KiB of memory for each VM.
inline constexpr std::uint32_t kMaxNotedFaults = 8192;

/// Keeps the compiler from moving writes across this point. (CPU reordering does not matter: a
/// killed process has executed all instructions up to some point and none after it.)
inline void order_for_successor() { std::atomic_signal_fence(std::memory_order_seq_cst); }

/// To be called when the event in a slot has been handled.
inline void clear_slot(uffd_msg& slot) {
  order_for_successor();
  std::memset(&slot, 0, sizeof(slot));
}

/// The mapped file. Movable; the address of the memory does not change.
class VmState {
 public:
  /// Number of event slots of each of the two kinds.
  static constexpr std::size_t kSlots = 16;

  /// Creates the file `name` and allocates its storage. kNoSpace if there is not enough, or if this
  /// VM would use more than a sixteenth of the file system (or 1 MiB if that is more).
  static Result<VmState> create(int directory, const std::string& name, const VmRecord& record,
                                const std::string& object);

  /// Maps an existing file; kCorrupt if it is not a valid state.
  static Result<VmState> attach(int fd, const std::string& object);

  /// Locks the slots in memory for this process. Neither attach() nor fork(2) inherits the lock.
  void lock_slots() const;

  [[nodiscard]] const VmRecord& record() const { return record_; }
  [[nodiscard]] VmCounters& counters() const;
  /// Zeros in a state that an earlier version has written.
  [[nodiscard]] NetworkWaits& network_waits() const;
  /// The slots for events of the main loop, and those for events that must be read before a fill.
  [[nodiscard]] std::span<uffd_msg> slots() const;
  [[nodiscard]] std::span<uffd_msg> reread_slots() const;
  /// A bit per block. REQUIRES: only bits of blocks inside a region are used.
  [[nodiscard]] std::span<std::uint64_t> removed_bits() const;
  /// Where populating continues; see Populator.
  [[nodiscard]] Counter& populate_position() const;
  /// The blocks in the order of their first touch; the first recorded_count() entries are valid.
  [[nodiscard]] std::span<std::uint32_t> recorded_blocks() const;
  [[nodiscard]] Counter& recorded_count() const;
  /// Not 0 once the recording was stored in the snapshot.
  [[nodiscard]] Counter& recording_stored() const;

 private:
  VmState(os::SharedMapping mapping, VmRecord record)
      : mapping_(std::move(mapping)), record_(std::move(record)) {}

  os::SharedMapping mapping_;
  VmRecord record_;
};

}  // namespace lamina::pager
