// The sockets that VMs connect to: accepts connections and receives handshakes.
//
// Nothing here blocks: fd() becomes readable if there is something to do. A slow or silent peer
// costs its connection and its directory, and loses both after a time limit.
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
  /// a predecessor, in the same order, or is empty; on failure it keeps them. Peers whose handshake
  /// is complete, and the reasons of refusals, go to `admission`, which must outlive this.
  static Result<Acceptor> create(const StateDirectory& states, std::vector<Endpoint> endpoints,
                                 const AccessRules& rules, std::vector<Listener>&& inherited,
                                 Admission& admission);

  /// Readable when handle() has something to do.
  [[nodiscard]] int fd() const { return epoll_.get(); }

  /// Accepts pending connections and receives what has arrived.
  void handle();

  /// Drops peers that have exceeded their time limit, and ends back-offs. Returns the milliseconds
  /// until it must be called again, -1 if nothing is due.
  int expire();

  /// In a child: closes its copies of unfinished connections. Their directories belong to the
  /// parent and are not touched.
  void forget_peers();

  /// In a child that takes its parent's place, after forget_peers(): accepts again, unless the
  /// parent had stopped listening.
  Status resume(bool listens);

  /// True: accepts nothing, so that connecting peers wait in the backlog. False: accepts again.
  void hold(bool held);
  [[nodiscard]] bool is_held() const { return held_; }

  /// True while peers have connected that are neither VMs yet nor refused.
  [[nodiscard]] bool has_peers() const { return !pending_.empty() || admission_->has_peers(); }

  /// Removes the sockets from the file system, but still accepts the peers that have connected
  /// already: they have no other server.
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
  /// After an exception while a peer was handled (-1: accepted).
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
};

}  // namespace lamina::server
