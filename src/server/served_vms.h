// The VMs that this process serves: their descriptors, the threads that serve them, and their
// recordings. Used by one thread; the serving threads are inside.
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

/// The number of serving threads: `wanted`; if that is 0, the number of processors, at most 4.
std::size_t default_threads(std::uint32_t wanted);

/// Counts a VM that is no longer served. If it was to be killed, kills it once more and logs it.
void count_ended(const Ended& ended, const Vm& vm, Totals& totals, const Log& log);

/// `totals` plus the counters of the VMs that are served now.
Totals sum_of(const Totals& totals, const Vms& vms);

/// The figures of each; valid while `vms` does not change.
std::vector<VmFigures> figures_of(const Vms& vms);

class ServedVms {
 public:
  /// Starts to serve all of `vms`, which must outlive this object. add() and the ends of VMs change
  /// `vms`.
  static Result<std::unique_ptr<ServedVms>> start(Vms& vms, std::size_t threads, Log log);

  /// If this fails (no memory), the VM is not served, and the caller must end it.
  Status add(std::unique_ptr<Vm>& vm);

  /// Readable when handle_ended() has something to do.
  [[nodiscard]] int fd() const { return epoll_.get(); }

  /// Passes every VM that is no longer served to `ended`, before its descriptors are closed; a VM
  /// whose recording is being stored, when that is done. If `ended` throws, the VM is passed again
  /// by the next call.
  void handle_ended(const std::function<void(const Ended&, const Vm&)>& ended);

  /// Stores the recordings that are complete. Returns the milliseconds until the next one is; -1:
  /// there is none.
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
  std::map<std::uint64_t, Ended> waiting_;            ///< ended, but in storing_
  std::vector<Ended> ended_;                          ///< not passed on yet; room for all VMs
  std::unique_ptr<Prefetcher> prefetcher_;            ///< null: its thread could not be started
  std::unique_ptr<WorkingSetStorer> storer_;
  std::unique_ptr<ServingThreads> threads_;  ///< last: its threads use the VMs
};

}  // namespace lamina::server
