// The listening sockets: from a connection to a whole handshake.
//
// Nothing here waits: fd() becomes readable when more has arrived. A peer that is slow or silent
// costs its connection and its directory, and loses both after a time.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "lamina/result.h"
#include "os/fd.h"
#include "pager/handshake.h"
#include "server/admission.h"
#include "server/endpoint.h"
#include "server/listener.h"
#include "server/state_directory.h"
#include "server/vm.h"

namespace lamina::server {

class Acceptor {
 public:
  /// Binds and listens. kBusy when another process listens at a path; a socket at which no process
  /// listens is replaced; anything else there is kFailed. `inherited` has the listening sockets of
  /// a predecessor, in the same order, or is empty; what is inherited stays the caller's on
  /// failure. Peers whose handshake is whole, and the reasons why others are refused, go to
  /// `admission`, which must outlive this.
  static Result<Acceptor> create(const StateDirectory& states, std::vector<Endpoint> endpoints,
                                 const AccessRules& rules, std::vector<Listener>&& inherited,
                                 Admission& admission);

  /// Readable when handle() has something to do.
  [[nodiscard]] int fd() const { return epoll_.get(); }

  /// Accepts and receives what waits.
  void handle();

  /// Gives up peers whose time is over. Returns the milliseconds until the next one's is, -1 when
  /// none waits.
  int expire();

  /// In a child: closes what it has inherited of peers that have not finished, and does not touch
  /// their directories, which are the parent's.
  void forget_peers();

  /// In a child that takes its parent's place, after forget_peers(): accepts again, unless the
  /// parent had stopped listening.
  Status resume(bool listens);

  /// Lets peers that connect wait at the sockets, or accepts them again.
  void hold(bool held);

  /// True while peers have connected that are neither VMs yet nor refused.
  [[nodiscard]] bool has_peers() const { return !pending_.empty() || admission_->has_peers(); }

  /// Removes the sockets from the file system, and accepts the peers that have connected already:
  /// they cannot connect anywhere else.
  void stop_listening();

  /// Closes and removes the sockets, and drops all peers.
  void close();

  [[nodiscard]] const std::vector<Listener>& listening() const { return listening_; }

 private:
  using Clock = std::chrono::steady_clock;

  struct Pending {
    os::Fd connection;
    ClaimedPeer claimed;
    pager::HandshakeReceiver receiver;
    std::uint32_t endpoint = 0;
    Clock::time_point deadline;
  };

  Acceptor(const StateDirectory& states, std::vector<Endpoint> endpoints, AccessRules rules,
           Admission& admission)
      : states_(&states),
        admission_(&admission),
        endpoints_(std::move(endpoints)),
        rules_(std::move(rules)) {}

  Status listen();
  void watch_listening();
  [[nodiscard]] Status watch(int fd) const;
  void accept_from(std::uint32_t endpoint);
  Status admit(os::Fd connection, std::uint32_t endpoint);
  void receive_from(int connection);
  /// The refusal of a peer. One that has handed over its userfaultfd is killed.
  static std::string reason_of(const Pending& pending, const std::string& reason);
  /// Handling a peer has thrown (-1: accepting one has).
  void give_up(int connection, const Error& error) noexcept;
  int expire_late();
  void drop(int connection) noexcept;
  void drop_oldest();

  const StateDirectory* states_;
  Admission* admission_;
  std::vector<Endpoint> endpoints_;
  AccessRules rules_;
  os::Fd epoll_;
  std::vector<Listener> listening_;
  std::map<int, Pending> pending_;  ///< by connection
  bool held_ = false;
  Clock::time_point paused_until_;  ///< accepting failed for want of something
};

}  // namespace lamina::server
