// The listening sockets: from a connection to a VM that can be served.
//
// Nothing here waits: what has not arrived is waited for by whoever polls fd(). A peer that is slow
// or silent costs its connection and its directory, and loses both after a time.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "lamina/result.h"
#include "os/fd.h"
#include "pager/handshake.h"
#include "server/endpoint.h"
#include "server/state_directory.h"
#include "server/vm.h"

namespace lamina::server {

class Acceptor {
 public:
  /// Binds and listens. kBusy when another process listens at a path; a socket that nobody listens
  /// at is replaced; anything else there is kFailed. `inherited` has the listening sockets of a
  /// predecessor, in the same order, or is empty; what is inherited stays
  /// the caller's on failure.
  static Result<Acceptor> create(const StateDirectory& states, std::vector<Endpoint> endpoints,
                                 const AccessRules& rules, std::vector<os::Fd>&& inherited);

  /// Readable when handle() has something to do.
  [[nodiscard]] int fd() const { return epoll_.get(); }

  /// Accepts and receives what waits. Finished VMs go to `take`; peers that are refused, with the
  /// reason, to `refuse`. When `take` throws it has not taken the VM, which is killed.
  void handle(const std::function<void(std::unique_ptr<Vm>)>& take,
              const std::function<void(const std::string&)>& refuse);

  /// Gives up peers whose time is over. Returns the milliseconds until the next one's is, -1 when
  /// none waits.
  int expire(const std::function<void(const std::string&)>& refuse);

  /// In a child: closes what it has inherited of peers that have not finished, and does not touch
  /// their directories, which are the parent's.
  void forget_peers();

  /// In a child that takes its parent's place, after forget_peers(): accepts again, unless the
  /// parent had stopped listening.
  Status resume(bool listens);

  /// Lets those who connect wait at the sockets, or accepts them again.
  void hold(bool held);

  /// True while peers have connected and not finished their handshakes.
  [[nodiscard]] bool has_peers() const { return !pending_.empty(); }

  /// Removes the sockets from the file system, and admits who has connected already: they cannot
  /// connect anywhere else.
  void stop_listening(const std::function<void(std::unique_ptr<Vm>)>& take,
                      const std::function<void(const std::string&)>& refuse);

  /// Accepts nobody any more, and removes the sockets from the file system.
  void close();

  [[nodiscard]] std::vector<int> listening() const;

 private:
  using Clock = std::chrono::steady_clock;

  struct Pending {
    os::Fd connection;
    ClaimedPeer claimed;
    pager::HandshakeReceiver receiver;
    std::uint32_t endpoint = 0;
    Clock::time_point deadline;
  };

  Acceptor(const StateDirectory& states, std::vector<Endpoint> endpoints, AccessRules rules)
      : states_(&states), endpoints_(std::move(endpoints)), rules_(std::move(rules)) {}

  /// The VM of a whole handshake.
  Result<std::unique_ptr<Vm>> finish(Pending& pending);

  Status listen();
  void watch_listening();
  [[nodiscard]] Status watch(int fd) const;
  void accept_from(std::uint32_t endpoint, const std::function<void(const std::string&)>& refuse);
  Status admit(os::Fd connection, std::uint32_t endpoint,
               const std::function<void(const std::string&)>& refuse);
  void receive_from(int connection, const std::function<void(std::unique_ptr<Vm>)>& take,
                    const std::function<void(const std::string&)>& refuse);
  /// What is said of a peer that is refused. One that has handed over its userfaultfd is killed.
  static std::string reason_of(const Pending& pending, const std::string& reason);
  /// Handling a peer has thrown (-1: accepting one has).
  void give_up(int connection, const Error& error,
               const std::function<void(const std::string&)>& refuse) noexcept;
  int expire_late(const std::function<void(const std::string&)>& refuse);
  void drop(int connection) noexcept;
  void drop_oldest(const std::function<void(const std::string&)>& refuse);

  const StateDirectory* states_;
  std::vector<Endpoint> endpoints_;
  AccessRules rules_;
  os::Fd epoll_;
  std::vector<os::Fd> listening_;
  std::map<int, Pending> pending_;  ///< by connection
  bool held_ = false;
  Clock::time_point paused_until_;  ///< accepting failed for want of something
};

}  // namespace lamina::server
