// A thread that reads and checks the next portions of populate plans, so that the thread that owns
// the VMs has nothing to do for them but copy.
//
// It serves the sessions of one owner and never touches a VM. Owner and reader pass a fixed number
// of portions back and forth by one atomic word each: no locks, and no allocation after the start.
// The owner plans a portion and posts it; the reader reads the oldest of those posted; the owner
// copies it and takes it for the next plan. A portion that could not be read is passed back as
// such, and the owner reads it once more when it really needs it, with retries, and fails closed
// then.
//
// How much memory: kPortions buffers of 2 MiB, touched when the reader starts and used again for
// every portion, so that they stay in the cache that both processors share. More than two keep the
// reader busy while the owner answers faults.
//
// An owner with nothing to copy helps: it reads the oldest portion that nobody has begun. So both
// are busy whichever is slower, and a reader that gets no processor holds nothing up. It does so
// only while reads are quick, because faults wait meanwhile: what comes from a slow disk is the
// reader's.
//
// Rejected: a reader for each VM (memory for each; the disk does not get faster), and a queue under
// a mutex (the owner answers faults, and would wait for a reader that was preempted).
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

/// All functions are for one thread, the owner's.
class PlanReader {
 public:
  static constexpr std::size_t kPortions = 4;

  static Result<std::unique_ptr<PlanReader>> start();
  PlanReader(const PlanReader&) = delete;
  PlanReader& operator=(const PlanReader&) = delete;
  PlanReader(PlanReader&&) = delete;
  PlanReader& operator=(PlanReader&&) = delete;
  /// REQUIRES: all portions have been given back.
  ~PlanReader();

  /// Readable when a portion has been read since clear().
  [[nodiscard]] int fd() const { return finished_.fd(); }
  void clear() const { finished_.clear(); }

  /// Portions that each of `sessions` may have at once, so that all get on.
  void share_among(std::size_t sessions);
  [[nodiscard]] std::size_t share() const { return share_; }

  /// A portion to plan, empty, or nullptr when all are in use.
  Portion* take();
  /// Has it read. Its chain must stay until it has been read or given back.
  void post(Portion& portion);
  /// Reads a portion that is posted in the calling thread. False when there is none, or when reads
  /// take so long that faults should not wait for them.
  bool help();
  /// The owner needs it no more. False when it is being read just now: then it stays as it is.
  bool give_back(Portion& portion);
  /// Waits until a portion is not being read.
  static void wait_for(const Portion& portion);

 private:
  PlanReader() = default;
  static Result<std::unique_ptr<PlanReader>> make();
  void run();
  /// The oldest of those that are posted, now the caller's to read, or nullptr.
  Portion* next();
  void read(Portion& portion);

  std::array<Portion, kPortions> portions_;
  std::array<bool, kPortions> taken_{};
  std::uint64_t numbers_ = 0;
  std::size_t share_ = kPortions;
  os::AnonymousMapping buffers_;
  os::Event finished_;
  std::atomic<std::uint32_t> posts_ = 0;    ///< changes when there may be something to do
  std::atomic<std::uint64_t> read_ns_ = 0;  ///< that the last portion took
  std::atomic<bool> stopping_ = false;
  std::thread thread_;
};

}  // namespace lamina::pager
