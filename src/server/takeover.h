// The VMs that were there before this server: found, opened what they go on with, and served.
//
// A VM whose server is gone has left its state in a directory that no process has locked; its
// descriptors are taken from its process. Its snapshot is opened elsewhere (openings.h). VMs that
// never can be served are killed; those that may be another time wait and are tried again.
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
    std::function<void()> count_killed;
    std::function<void()> count_reacquired;
    Log log;
  };

  /// All must outlive it.
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

  /// Looks for VMs without a server now, and for ten seconds again and again: a server that was
  /// killed a moment ago may still be on its way out, and hold what it served. Where some wait, it
  /// goes on for as long as they do.
  void begin();
  void look_if_due();
  [[nodiscard]] int due_ms() const;

  /// Something has failed that VMs may have been lost by: looks for ten seconds more.
  void look_again() { look_until_ = Clock::now() + kLooking; }

  /// A VM on record whose service is not open: one of a predecessor.
  void add(std::unique_ptr<Vm> vm);

  /// Those whose snapshots are being opened, or wait to be tried again.
  [[nodiscard]] std::vector<const Vm*> vms() const;
  /// Some are being opened now.
  [[nodiscard]] bool is_opening() const;

  /// In a child: closes its copies, and leaves everything else to the parent.
  void forget() { coming_.clear(); }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::seconds kLooking{10};

  struct Coming {
    std::unique_ptr<Vm> vm;
    bool reacquired = false;
    bool waits = false;  ///< to be tried again
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
  std::map<std::uint64_t, Coming> coming_;
  std::uint64_t last_number_ = 0;
  Clock::time_point look_until_;
};

}  // namespace lamina::server
