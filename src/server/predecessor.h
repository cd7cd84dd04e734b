// The program that this one has replaced by exec(2) (SIGHUP): its serving process, which still
// serves, and its VMs.
//
// Their snapshots are opened by threads (openings.h) while that process serves. Only when all of
// them are open is it replaced, by a serving process of this one. When one cannot be opened, or
// takes too long, this process ends instead: the serving process has everything open and takes its
// place. When the serving process dies meanwhile, the VMs are served from here as each one's
// snapshot opens. Until then it says here, as to any supervisor, which VMs have ended, and why.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "lamina/result.h"
#include "server/control_message.h"
#include "server/handover.h"
#include "server/openings.h"
#include "server/serving_thread.h"
#include "server/snapshots.h"

namespace lamina::server {

/// Whether the predecessor's serving process runs.
bool serves_still(InheritedState& state);

/// Opens each VM's snapshot, one after the other; an error if one cannot be opened. For trials.
Status try_services(const InheritedState& state, Snapshots& snapshots);

/// Used by one thread.
class Predecessor {
 public:
  /// A VM that was left, and what it is served, or why it never can be.
  struct InheritedVm {
    std::unique_ptr<Vm> vm;
    Result<Service> service;
  };

  /// The VMs that this process takes over.
  struct Outcome {
    std::vector<InheritedVm> vms;
    std::vector<std::unique_ptr<Vm>> unopened;  ///< to be opened, and tried again, like others
    pid_t worker = -1;  ///< the old serving process, which serves the VMs until it is replaced
    os::Fd worker_pidfd;
    os::Fd worker_control;
  };

  /// Gets a VM that has ended, or was killed, before it was taken over.
  using Ending = std::function<void(const Ended&, const Vm&)>;

  /// Both must outlive it.
  Predecessor(const Snapshots& snapshots, Openings& openings, Ending ended)
      : snapshots_(snapshots), openings_(openings), ended_(std::move(ended)) {}
  Predecessor(const Predecessor&) = delete;
  Predecessor& operator=(const Predecessor&) = delete;
  Predecessor(Predecessor&&) = delete;
  Predecessor& operator=(Predecessor&&) = delete;
  ~Predecessor() = default;

  /// Takes the serving process and the VMs, and begins to open what they need.
  void begin(InheritedState& state);

  /// From begin() until take_outcome() has returned the VMs.
  [[nodiscard]] bool is_there() const { return is_there_; }
  [[nodiscard]] std::vector<const Vm*> vms() const;

  /// Readable when the serving process has ended; -1: there is none.
  [[nodiscard]] int ended_fd() const { return worker_pidfd_.get(); }
  /// Readable when handle_message() has something to do; -1: never.
  [[nodiscard]] int message_fd() const { return control_.get(); }
  /// Hears the serving process. Waits unless message_fd() is readable.
  void handle_message();
  /// Milliseconds until the openings have taken too long; -1: never.
  [[nodiscard]] int due_ms() const;
  /// Returned once: the VMs, when all snapshots are open (with the old serving process, which is to
  /// be replaced) or when that process has died. An error if this process must end instead.
  /// nullopt: not yet.
  std::optional<Result<Outcome>> take_outcome();

  /// Ends the serving process, if it runs: it is a child of this one.
  void end_serving_process();

  /// Tells the old serving process, which will take this process's place, to stop afterwards.
  void pass_on_stop() const;

  /// In a child: drops everything, which belongs to the parent.
  void forget();

 private:
  using Clock = std::chrono::steady_clock;

  struct Opening {
    std::unique_ptr<Vm> vm;                  ///< null: it has ended
    std::uint64_t id = 0;                    ///< that the serving process knows it by; 0: not known
    std::optional<Result<Service>> service;  ///< nothing: it is being opened
  };

  /// Whether the serving process runs. Reaps it when it has ended.
  bool serves();
  [[nodiscard]] bool is_opening() const;
  [[nodiscard]] std::optional<Error> why_not() const;
  void end_vm(const ControlMessage& message);
  void handle_last_messages();
  Outcome release_vms();

  const Snapshots& snapshots_;
  Openings& openings_;
  Ending ended_;
  bool is_there_ = false;
  pid_t worker_ = -1;
  os::Fd worker_pidfd_;
  os::Fd control_;
  Clock::time_point deadline_;  ///< of the next snapshot that opens
  /// Callbacks hold weak pointers to it, since openings may end after take_outcome().
  std::shared_ptr<std::vector<Opening>> opening_;
};

}  // namespace lamina::server
