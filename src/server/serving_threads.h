// The threads that serve: each owns its sessions and does everything with their descriptors.
//
// A thread waits for events of all its sessions at once. Populating reaches it as work between
// events: one small portion per session and round while faults come, larger ones when none do. What
// it copies then, a second thread of each has read and checked (pager::PlanReader).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "engine/chain.h"
#include "lamina/result.h"
#include "os/event.h"
#include "server/serving_thread.h"

namespace lamina::server {

/// A fixed number of threads. add() and take_ended() may be called by one other thread.
class ServingThreads {
 public:
  static Result<std::unique_ptr<ServingThreads>> start(std::size_t threads);

  ServingThreads(const ServingThreads&) = delete;
  ServingThreads& operator=(const ServingThreads&) = delete;
  ServingThreads(ServingThreads&&) = delete;
  ServingThreads& operator=(ServingThreads&&) = delete;
  /// Stops the threads. VMs that are still served then wait for a successor.
  ~ServingThreads();

  /// Sets aside what it takes to report so many VMs as ended. May throw; what is below does not,
  /// but for take_ended(), which may be called again then.
  void reserve(std::size_t vms);

  /// Gives a VM to the thread with the fewest. What goes wrong is reported as ended, killed.
  /// REQUIRES: reserve() for it and all others.
  void add(VmToServe vm);

  /// Readable when take_ended() or take_notes() has something.
  [[nodiscard]] int fd() const { return ended_event_.fd(); }
  std::vector<Ended> take_ended();
  /// What is worth a line in the log.
  std::vector<std::string> take_notes();

  /// Fills all of the memory of every VM, so that it needs no server any more: each is reported as
  /// ended (kDetached) when that is done.
  void detach_all();

 private:
  ServingThreads() = default;
  void report(Ended ended);
  void report_note(std::string note);

  os::Event ended_event_;
  Mutex mutex_;
  std::vector<Ended> ended_ LAMINA_GUARDED_BY(mutex_);
  std::vector<std::string> notes_ LAMINA_GUARDED_BY(mutex_);
  std::vector<std::unique_ptr<ServingThread>> threads_;
};

}  // namespace lamina::server
