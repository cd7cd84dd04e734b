// Snapshots that are being opened, each by a separate thread, so that the supervisor's main thread
// never waits for a disk or a large header (docs/decisions/0022-opening-in-threads.md). Only if no
// thread can be started it reads by itself.
//
// Requests for one snapshot (the same key) share one reading: the first one starts a thread, the
// others get its result. So a snapshot on a disk that does not answer occupies one thread, however
// many VMs need it.
//
// Rejected: opening in a short-lived process. Its result could be handed over only by reading it
// again, and a new serving process can start at once only because it is forked from a process that
// has everything open.
//
// The process forks while these threads run. The child does not have the threads: it calls forget()
// and uses nothing that they use. They use only the allocator, which glibc keeps consistent over a
// fork, and results of their own. A file that a thread had just opened stays open in the child
// until the child ends.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "lamina/result.h"
#include "os/event.h"
#include "server/served_vms.h"
#include "server/snapshots.h"

namespace lamina::server {

/// Used by one thread, that of `snapshots`; its own threads are inside.
class Openings {
 public:
  /// Receives the service, or the reason why there is none. Called in the owner's thread.
  using Done = std::function<void(Result<Service>)>;

  /// Opened snapshots are added to `snapshots`, which must outlive this. Notes go to `log`.
  Openings(Snapshots& snapshots, Log log) : snapshots_(snapshots), log_(std::move(log)) {}
  Openings(const Openings&) = delete;
  Openings& operator=(const Openings&) = delete;
  Openings(Openings&&) = delete;
  Openings& operator=(Openings&&) = delete;
  /// Does not wait for threads that still read, and calls no Done.
  ~Openings();

  /// Begins; also in a child, after forget().
  Status start();

  /// Calls `done` before it returns if everything is open already, or on an immediate failure.
  /// Otherwise handle() or expire() call it, with kBusy if opening takes longer than `limit`.
  /// REQUIRES: start() has succeeded.
  void open(SnapshotRequest request, Done done,
            std::optional<std::chrono::milliseconds> limit = std::nullopt);

  /// Readable when handle() has something to do.
  [[nodiscard]] int fd() const { return results_ ? results_->event.fd() : -1; }
  void handle();

  /// Ends requests that exceed their limit. Returns the milliseconds until the next one; -1: none.
  int expire();

  /// True while a thread reads. The process must then end by _exit(2), because the thread may use
  /// static objects.
  [[nodiscard]] bool are_running() const { return !running_.empty(); }

  /// In a child: drops everything, calls no Done.
  void forget();

 private:
  using Clock = std::chrono::steady_clock;

  struct Job {
    SnapshotRequest request;
    Done done;
    std::chrono::milliseconds limit{};
    Clock::time_point deadline = Clock::time_point::max();
  };

  struct Finished {
    std::uint64_t number = 0;
    Result<SnapshotFiles> files;
  };

  /// What threads leave behind, and share with this.
  struct Results {
    Mutex mutex;
    std::vector<Finished> finished LAMINA_GUARDED_BY(mutex);
    os::Event event;
  };

  void start_threads();
  /// False when it waits for a thread.
  bool settle(std::list<Job>::iterator job);
  /// In a thread, or in place if none can be started.
  Status start_reading(const SnapshotRequest& request);
  void take(Finished finished);
  void finish(std::list<Job>::iterator job, Result<Service> service);
  [[nodiscard]] bool is_running(const std::string& key) const;

  Snapshots& snapshots_;
  Log log_;
  std::shared_ptr<Results> results_;
  std::list<Job> jobs_;
  std::map<std::uint64_t, SnapshotRequest> running_;  ///< what each thread reads
  std::uint64_t last_number_ = 0;
};

}  // namespace lamina::server
