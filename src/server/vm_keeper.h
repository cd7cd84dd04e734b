// Keeps VMs served: holds the VMs on record with all their descriptors, and runs a serving process
// for them. It starts that process, sends it VMs, receives its messages, and replaces it at once
// when it dies, or before it is ended. A VM that crashes serving processes is found (elimination.h)
// and killed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "os/fd.h"
#include "server/elimination.h"
#include "server/metrics.h"
#include "server/served_vms.h"
#include "server/state_directory.h"
#include "server/vm.h"
#include "server/worker_process.h"

namespace lamina::server {

/// Used by one thread.
class VmKeeper {
 public:
  /// `body` is what a serving process does (WorkerProcess).
  VmKeeper(WorkerProcess::Body body, Log log)
      : log_(std::move(log)), worker_(std::move(body), log_) {}
  VmKeeper(const VmKeeper&) = delete;
  VmKeeper& operator=(const VmKeeper&) = delete;
  VmKeeper(VmKeeper&&) = delete;
  VmKeeper& operator=(VmKeeper&&) = delete;
  /// Kills the serving process.
  ~VmKeeper() = default;

  /// Sets where the VMs' directories are; to be called before a VM is added. `states` must outlive
  /// this.
  void set_states(const StateDirectory& states) { states_ = &states; }

  /// Adds a VM and sends it to the serving process. The VM gets an id unless it has one. REQUIRES:
  /// Vm::service is set.
  void add(std::unique_ptr<Vm> vm);

  /// From now on the serving process fills all memory, so that VMs need no server.
  void detach();

  /// Kills a VM that can never be served and is not among vms().
  void kill_vm(const Vm& vm, const std::string& cause);

  /// Counts a VM of a predecessor that has ended before it was on record here; logs it if it was
  /// killed.
  void count_unserved(const Ended& ended, const Vm& vm);

  /// Forks a serving process when there is none and it is time. kIsSuccessor: this is the child.
  WorkerProcess::Start start_if_due();
  /// Milliseconds until start_if_due() or judge() must be called; -1: not before a descriptor is
  /// readable.
  [[nodiscard]] int due_ms() const;

  /// Readable when handle_message() has something to do.
  [[nodiscard]] int message_fd() const { return worker_.fd(); }
  void handle_message();
  /// Readable when handle_end() has something to do.
  [[nodiscard]] int ended_fd() const { return worker_.ended_fd(); }
  void handle_end();

  /// Kills the VM that crashes serving processes, once it is found.
  void judge();

  /// To be called when standard error is another file: tells the serving process.
  void tell_log();

  /// Takes the serving process of another program, a child of this one, to replace it by an own one
  /// at the next start_if_due(). REQUIRES: none runs.
  void replace_inherited(pid_t pid, os::Fd pidfd, os::Fd control) {
    worker_.replace_inherited(pid, std::move(pidfd), std::move(control));
  }

  /// Ends the serving process.
  void end() { worker_.end(); }
  [[nodiscard]] pid_t worker() const { return worker_.pid(); }
  /// True if a serving process runs that has said that it serves.
  [[nodiscard]] bool serves() const { return worker_.serves(); }
  /// Why no serving process could be started; nullopt if it could, or is not known yet.
  [[nodiscard]] const std::optional<std::string>& failure() const { return worker_.failure(); }
  /// True while one serving process takes the place of another.
  [[nodiscard]] bool is_replacing() const { return worker_.is_replacing(); }

  [[nodiscard]] Vms& vms() { return vms_; }
  [[nodiscard]] const Vms& vms() const { return vms_; }
  /// True if there has ever been a VM.
  [[nodiscard]] bool had_vms() const { return had_vms_; }

  /// The supervisor's counters, to which others add; totals_now() includes those of all VMs and of
  /// the serving process.
  [[nodiscard]] Totals& totals() { return totals_; }
  [[nodiscard]] Totals totals_now() const;

  /// In a child: removes and returns the VMs that it does not serve during an elimination.
  Vms take_waiting();

  /// In a child that takes its parent's place: nothing is being looked for. `id` is that of a VM.
  void reset_elimination() { elimination_ = {}; }
  void note_id(std::uint64_t id);

 private:
  [[nodiscard]] Elimination::Ids ids() const;
  void receive();
  void end_vm(const ControlMessage& message);

  Log log_;
  const StateDirectory* states_ = nullptr;
  Vms vms_;
  WorkerProcess worker_;
  pid_t judged_ = -1;  ///< the serving process that has been reported as surviving
  Elimination elimination_;
  bool had_vms_ = false;
  bool detaches_ = false;
  Totals totals_;
};

}  // namespace lamina::server
