// Takes over VMs of an earlier server: finds them, opens their snapshots, and has them served.
//
// A VM whose server has died has a state directory that no process has locked. Its userfaultfd is
// taken from its process (pidfd_getfd). Its snapshot is opened by a thread (openings.h). VMs that
// can never be served are killed; if the failure may pass, the VM waits and is tried again.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "lamina/result.h"
#include "server/openings.h"
#include "server/served_vms.h"
#include "server/snapshots.h"
#include "server/state_directory.h"
#include "server/vm.h"

namespace lamina::server {

/// Used by one thread.
class Takeover {
 public:
  struct Callbacks {
    std::function<void(std::unique_ptr<Vm>)> serve;  ///< its service is set
    /// It has ended before it could be served: counts it, and removes its directory.
    std::function<void(const Vm&)> end;
    std::function<void()> count_killed;
    std::function<void()> count_reacquired;
    Log log;
  };

  /// All references must outlive this object.
  Takeover(const StateDirectory& states, const Snapshots& snapshots, Openings& openings,
           Callbacks callbacks)
      : states_(states),
        snapshots_(snapshots),
        openings_(openings),
        callbacks_(std::move(callbacks)) {}
  Takeover(const Takeover&) = delete;
  Takeover& operator=(const Takeover&) = delete;
  Takeover(Takeover&&) = delete;
  Takeover& operator=(Takeover&&) = delete;
  ~Takeover() = default;

  /// Searches for VMs without a server, now and repeatedly for ten seconds: a server that was just
  /// killed may not have ended yet, and still holds its locks. The search continues while
  /// VMs wait to be tried again.
  void begin();
  void look_if_due();
  /// Tries the waiting VMs again without searching for others.
  void retry_if_due();
  [[nodiscard]] int due_ms() const;

  /// After a failure that may have lost VMs: searches for ten more seconds.
  void look_again() { look_until_ = Clock::now() + kLooking; }

  /// Adds a predecessor's VM whose snapshot is not open.
  void add(std::unique_ptr<Vm> vm);

  /// The VMs whose snapshots are being opened, and those that wait to be tried again.
  [[nodiscard]] std::vector<const Vm*> vms() const;
  /// True if snapshots are being opened.
  [[nodiscard]] bool is_opening() const;

  /// In a child: closes its copies, and leaves everything else to the parent.
  void forget() { opening_.clear(); }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::seconds kLooking{10};

  struct Opening {
    std::unique_ptr<Vm> vm;
    bool reacquired = false;
    bool waits = false;  ///< is tried again later
  };

  Result<bool> take_abandoned();
  bool take_over(VmDirectory& directory);
  void open(std::unique_ptr<Vm> vm, bool reacquired);
  void request(std::uint64_t number);
  void finish(std::uint64_t number, Result<Service> service);
  void end_unserved(const VmDirectory& directory, const Error& cause);
  void retry();
  void say_waits(const std::string& name, const Error& cause);

  const StateDirectory& states_;
  const Snapshots& snapshots_;
  Openings& openings_;
  Callbacks callbacks_;
  std::map<std::uint64_t, Opening> opening_;
  std::uint64_t last_number_ = 0;
  Clock::time_point look_until_;
};

}  // namespace lamina::server
