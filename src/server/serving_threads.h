// The serving threads. Each owns its sessions and does everything with their descriptors.
//
// A thread waits for events of all its sessions in one epoll set. Between events it populates:
// small portions, one per session in turn, while faults come, and larger ones otherwise. A second
// thread for each serving thread reads and checks the portions beforehand (pager::PlanReader).
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
  /// Starts `threads`, or as many as can be started: at least one.
  static Result<std::unique_ptr<ServingThreads>> start(std::size_t threads);

  ServingThreads(const ServingThreads&) = delete;
  ServingThreads& operator=(const ServingThreads&) = delete;
  ServingThreads(ServingThreads&&) = delete;
  ServingThreads& operator=(ServingThreads&&) = delete;
  /// Stops the threads. VMs that are still served wait for a successor.
  ~ServingThreads();

  /// Reserves the memory to report this many VMs as ended. May throw. The functions below do not
  /// throw, except take_ended(), which may then be called again.
  void reserve(std::size_t vms);

  /// Gives a VM to the thread with the fewest VMs. On failure the VM is reported as ended, killed.
  /// REQUIRES: reserve() for this VM and all others.
  void add(VmToServe vm);

  /// Readable when take_ended() or take_notes() has something.
  [[nodiscard]] int fd() const { return ended_event_.fd(); }
  std::vector<Ended> take_ended();
  /// Lines for the log.
  std::vector<std::string> take_notes();

  /// Fills the memory of every VM, so that it needs no server. Each is then reported as ended
  /// (kDetached).
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
