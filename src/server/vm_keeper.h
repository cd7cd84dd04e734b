// Keeps VMs served: has those on record with all that they need, and a serving process that serves
// them, which is started, told of VMs, heard, and succeeded at once when it dies. VMs that serving
// processes crash by are found (elimination.h) and killed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
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

  /// The directories of the VMs. It must outlive this, and is set before any VM is added.
  void set_states(const StateDirectory& states) { states_ = &states; }

  /// Puts a VM on record whose service is set; it gets an id, unless it has one. The serving
  /// process is told.
  void add(std::unique_ptr<Vm> vm);

  /// The serving process fills all memory from now on, so that VMs need no server.
  void detach();

  /// Kills a VM that can never be served. It is not on record any more, or never was.
  void kill_vm(const Vm& vm, const std::string& cause);

  /// Forks a serving process when there is none and it is time. kIsInPlace: this is the child.
  WorkerProcess::Start start_if_due();
  /// Milliseconds until it, or judge(), has something to do; -1: until the descriptors have.
  [[nodiscard]] int due_ms() const;

  /// Readable when handle_message() has something to do.
  [[nodiscard]] int message_fd() const { return worker_.fd(); }
  void handle_message();
  /// Readable when handle_end() has something to do.
  [[nodiscard]] int ended_fd() const { return worker_.ended_fd(); }
  void handle_end();

  /// Kills a VM once it is found that serving processes crash by it.
  void judge();

  /// Standard error is another file now.
  void tell_log();

  /// Ends the serving process.
  void end() { worker_.end(); }
  [[nodiscard]] pid_t worker() const { return worker_.pid(); }

  [[nodiscard]] Vms& vms() { return vms_; }
  [[nodiscard]] const Vms& vms() const { return vms_; }
  /// One has been on record.
  [[nodiscard]] bool had_vms() const { return had_vms_; }

  /// Its own counts, to which others add; and with those of all VMs and of the serving process.
  [[nodiscard]] Totals& totals() { return totals_; }
  [[nodiscard]] Totals totals_now() const;

  /// In a child: the VMs that it does not serve, while one is looked for; they go back into vms().
  Vms take_waiting();

  /// In a child that takes its parent's place: nothing is being looked for. `id` is that of a VM.
  void begin_anew() { elimination_ = {}; }
  void note_id(std::uint64_t id);

 private:
  [[nodiscard]] Elimination::Ids ids() const;
  void receive();
  void end_vm(const ControlMessage& message);

  Log log_;
  const StateDirectory* states_ = nullptr;
  Vms vms_;
  WorkerProcess worker_;
  pid_t judged_ = -1;  ///< the serving process that was found to live
  Elimination elimination_;
  bool had_vms_ = false;
  bool detaches_ = false;
  Totals totals_;
};

}  // namespace lamina::server
