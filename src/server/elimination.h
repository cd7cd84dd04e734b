// Which VM it is that serving processes crash by. A pure state machine: it is told what serving
// processes do, and says which VMs the next one is to serve.
//
// It begins when several in a row have crashed at once. First one that serves no VM must live:
// else it is not by a VM, none is blamed, and all goes on as before. Then the suspects are halved
// until one is left, and that one is found guilty when serving processes crash again and again with
// it alone. VMs that were served for long enough without a crash are served along with those that
// are tried; the rest wait, some seconds at most.
#pragma once

#include <cstdint>
#include <optional>
#include <set>

namespace lamina::server {

class Elimination {
 public:
  using Ids = std::set<std::uint64_t>;

  /// Crashes at once, in a row: of all to begin with, of some that are tried, of one to be guilty.
  static constexpr int kCrashesToBegin = 5;
  static constexpr int kCrashesOfSome = 2;
  static constexpr int kCrashesOfOne = 4;

  /// A serving process has crashed at once. `vms` are all that there are now.
  void crashed(const Ids& vms);

  /// One has lived for long enough to have met what others crashed by.
  void lived(const Ids& vms);

  /// Nothing while all are served. Then: those that the next serving process serves; the others
  /// wait. It changes only in crashed() and lived().
  [[nodiscard]] const std::optional<Ids>& served() const { return served_; }

  /// The VM that was found guilty, once.
  std::optional<std::uint64_t> take_guilty();

 private:
  void stop();
  void try_next(const Ids& vms);

  int crashes_ = 0;            ///< in a row, of what is tried
  std::optional<Ids> served_;  ///< what is tried, and the innocent
  Ids suspects_;
  Ids tried_;  ///< some of the suspects; none at first
  Ids innocent_;
  std::optional<std::uint64_t> guilty_;
};

}  // namespace lamina::server
