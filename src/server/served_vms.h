// The VMs that this process serves: their descriptors, the threads that serve them, and what they
// record. Used by one thread; the serving threads are inside.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "lamina/result.h"
#include "server/metrics.h"
#include "server/prefetcher.h"
#include "server/serving_threads.h"
#include "server/vm.h"
#include "server/working_set_storer.h"

namespace lamina::server {

using Vms = std::map<std::uint64_t, std::unique_ptr<Vm>>;
using Log = std::function<void(const std::string&)>;

/// The number of serving threads: `wanted`, or for 0 as many as there are processors, at most 4.
std::size_t default_threads(std::uint32_t wanted);

/// Counts a VM that is not served any more, and says so when it was killed (again, to be sure).
void count_ended(const Ended& ended, const Vm& vm, Totals& totals, const Log& log);

/// `totals` with those of the VMs that are served now.
Totals sum_of(const Totals& totals, const Vms& vms);

class ServedVms {
 public:
  /// Begins to serve all of `vms`, which must outlive this; what is added and what ends comes to
  /// and goes from `vms`.
  static Result<std::unique_ptr<ServedVms>> start(Vms& vms, std::size_t threads, Log log);

  /// When this fails (for want of memory) the VM is not served: it is the caller's to end.
  Status add(std::unique_ptr<Vm>& vm);

  /// Readable when handle_ended() has something to do.
  [[nodiscard]] int fd() const { return epoll_.get(); }

  /// Passes every VM that is not served any more to `ended`, before its descriptors are closed. One
  /// whose recording is being stored is passed on when that is done. When `ended` throws, the VM
  /// stays, and is passed on by the next call.
  void handle_ended(const std::function<void(const Ended&, const Vm&)>& ended);

  /// Has the recordings stored whose time is over; returns the milliseconds until the next one's
  /// is, -1 when there is none.
  int save_due_recordings();

  /// See ServingThreads::detach_all.
  void detach_all() { threads_->detach_all(); }

 private:
  using Ending = std::function<void(const Ended&, const Vm&)>;

  ServedVms(Vms& vms, Log log) : vms_(vms), log_(std::move(log)) {}

  [[nodiscard]] Status watch(int fd) const;
  void begin(Vm& vm) noexcept;
  void save_recording(const Vm& vm) noexcept;
  void handle_stored();
  void say(const std::string& line) const noexcept;
  void end(const Ended& one, const Ending& ended);

  Vms& vms_;
  Log log_;
  os::Fd epoll_;
  std::map<std::uint64_t, std::uint64_t> recording_;  ///< until when, by VM
  std::set<std::uint64_t> storing_;                   ///< whose recordings are being stored
  std::map<std::uint64_t, Ended> waiting_;            ///< for that, and not served any more
  std::vector<Ended> ended_;                          ///< not passed on yet; room for all VMs
  std::unique_ptr<Prefetcher> prefetcher_;            ///< null: there could not be another thread
  std::unique_ptr<WorkingSetStorer> storer_;
  std::unique_ptr<ServingThreads> threads_;  ///< last: its threads use the VMs
};

}  // namespace lamina::server
