// A thread that reads and verifies the next portions of populate plans, so that the thread that
// serves the VMs (the owner) only has to copy them.
//
// The reader serves the sessions of one owner and never touches a VM. Owner and reader exchange a
// fixed number of portions through one atomic state word each: no locks, and no allocation after
// the start. The owner plans a portion and posts it; the reader reads the oldest posted one; the
// owner copies it and reuses it for the next plan. If a portion cannot be read, the owner reads it
// again when it needs the data, with retries, and fails closed.
//
// Memory: kPortions buffers of 2 MiB. They are touched when the reader starts and reused for every
// portion, so that they stay in the cache that both CPUs share. More than two keep the reader busy
// while the owner serves faults.
//
// An owner with nothing to copy reads the oldest posted portion itself. So both threads are busy
// whichever is slower, and a reader that gets no CPU delays nothing. The owner does this only while
// reads are fast, because faults wait meanwhile.
//
// Rejected: a reader per VM (memory for each, and the disk does not get faster), and a queue with a
// mutex (the owner serves faults and would wait for a reader that was preempted).
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <thread>

#include "lamina/result.h"
#include "os/anonymous_mapping.h"
#include "os/event.h"
#include "pager/portion.h"

namespace lamina::pager {

/// All functions must be called by one thread, the owner.
class PlanReader {
 public:
  static constexpr std::size_t kPortions = 4;

  static Result<std::unique_ptr<PlanReader>> start();
  PlanReader(const PlanReader&) = delete;
  PlanReader& operator=(const PlanReader&) = delete;
  PlanReader(PlanReader&&) = delete;
  PlanReader& operator=(PlanReader&&) = delete;
  /// REQUIRES: all portions were given back.
  ~PlanReader();

  /// Readable if a portion was read since the last clear().
  [[nodiscard]] int fd() const { return finished_.fd(); }
  void clear() const { finished_.clear(); }

  /// Divides the portions among `sessions`, so that all make progress.
  void share_among(std::size_t sessions);
  /// Portions that one session may have at once.
  [[nodiscard]] std::size_t share() const { return share_; }

  /// An empty portion to plan; nullptr if all are in use.
  Portion* take();
  /// Queues a portion for reading. Its chain must exist until it has been read or given back.
  void post(Portion& portion);
  /// Reads the oldest posted portion in the calling thread. False if there is none, or if reads are
  /// so slow that faults should not wait for them.
  bool read_one();
  /// Returns a portion. False if it is being read at the moment: then nothing is changed.
  bool give_back(Portion& portion);
  /// Waits while a portion is being read.
  static void wait_for(const Portion& portion);

 private:
  PlanReader() = default;
  static Result<std::unique_ptr<PlanReader>> make();
  void run();
  /// Takes the oldest posted portion for reading; nullptr if there is none.
  Portion* next();
  void read(Portion& portion);

  std::array<Portion, kPortions> portions_;
  std::array<bool, kPortions> taken_{};
  std::uint64_t numbers_ = 0;
  std::size_t share_ = kPortions;
  os::AnonymousMapping buffers_;
  os::Event finished_;
  std::atomic<std::uint32_t> posts_ = 0;    ///< changes when a portion is posted or on shutdown
  std::atomic<std::uint64_t> read_ns_ = 0;  ///< duration of the last read
  std::atomic<bool> stopping_ = false;
  std::thread thread_;
};

}  // namespace lamina::pager
