// Finds the VM that crashes serving processes. A pure state machine: it is told when serving
// processes crash or survive, and returns which VMs the next one is to serve.
//
// It starts when several serving processes in a row have crashed soon after their start. The first
// trial serves no VM. If that crashes too, no VM is the cause, and all VMs are served again.
// Otherwise half of the suspects are served at a time, until one suspect is left. If serving
// processes that serve only this VM keep crashing, it is the culprit. VMs that are cleared are
// served during the trials; the remaining suspects wait, some seconds at most.
#pragma once

#include <cstdint>
#include <optional>
#include <set>

namespace lamina::server {

class Elimination {
 public:
  using Ids = std::set<std::uint64_t>;

  /// Consecutive crashes that start the search, that convict a group, and that convict one VM.
  static constexpr int kCrashesToBegin = 5;
  static constexpr int kCrashesOfSome = 2;
  static constexpr int kCrashesOfOne = 4;

  /// A serving process has crashed soon after its start. `vms`: all VMs on record.
  void crashed(const Ids& vms);

  /// A serving process has run for longer than those that crashed.
  void lived(const Ids& vms);

  /// nullopt: all VMs are served. Otherwise the VMs that the next serving process serves; the
  /// others wait. Changes only in crashed() and lived().
  [[nodiscard]] const std::optional<Ids>& served() const { return served_; }

  /// The VM that causes the crashes, once it is found. Returned once.
  std::optional<std::uint64_t> take_guilty();

 private:
  void stop();
  void try_next(const Ids& vms);

  int crashes_ = 0;            ///< consecutive, with the VMs in tried_
  std::optional<Ids> served_;  ///< tried_ and innocent_
  Ids suspects_;
  Ids tried_;     ///< some of the suspects; none in the first trial
  Ids innocent_;  ///< cleared
  std::optional<std::uint64_t> guilty_;
};

}  // namespace lamina::server
