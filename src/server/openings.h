// Snapshots that are being opened, each by a thread of its own: the thread that accepts VMs, keeps
// the serving process and answers must wait for no disk, and for no header however large.
//
// Requests for one snapshot (the same key) need one reading: the first one gets a thread, the
// others what it has opened. So a snapshot whose disk is stuck holds one thread, whatever number of
// VMs wants it.
//
// Rejected: opening in a short-lived process. What it reads cannot be handed over but by reading it
// again, and a serving process is succeeded at once only because its successor is forked from a
// process that has everything open.
//
// The process forks while such threads run. A child has none of them: it calls forget(), and uses
// nothing that they use. They use the allocator, which the C library keeps whole over a fork, and
// their own results. What a thread had opened just then stays open in the child for its lifetime.
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
  /// Gets the service, or why there is none. Called by the thread that uses this.
  using Done = std::function<void(Result<Service>)>;

  /// What is opened gets into `snapshots`, which must outlive this. Notes go to `log`.
  Openings(Snapshots& snapshots, Log log) : snapshots_(snapshots), log_(std::move(log)) {}
  Openings(const Openings&) = delete;
  Openings& operator=(const Openings&) = delete;
  Openings(Openings&&) = delete;
  Openings& operator=(Openings&&) = delete;
  /// Does not wait for threads that still read, and calls no Done.
  ~Openings() = default;

  /// Begins; also in a child, after forget().
  Status start();

  /// Calls `done` at once, when all is open already or it fails at once; else from handle() or
  /// expire(), with kBusy when it takes longer than `limit`. REQUIRES: start() has succeeded.
  void open(SnapshotRequest request, Done done,
            std::optional<std::chrono::milliseconds> limit = std::nullopt);

  /// Readable when handle() has something to do.
  [[nodiscard]] int fd() const { return results_ ? results_->event.fd() : -1; }
  void handle();

  /// Gives up what has taken too long. Returns the milliseconds until the next one does; -1: never.
  int expire();

  /// A thread still reads. A process that ends now must end by _exit(2): its statics are in use.
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
  Status start_thread(const SnapshotRequest& request);
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
