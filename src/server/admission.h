// Turns a complete handshake into a VM that can be served: opens its snapshot, makes its state
// file.
//
// A peer at this point has handed over its userfaultfd but keeps a copy, so its threads wait for
// pages that only this server can fill. It is therefore either served or killed.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "lamina/result.h"
#include "os/fd.h"
#include "os/process.h"
#include "pager/handshake.h"
#include "server/endpoint.h"
#include "server/openings.h"
#include "server/state_directory.h"
#include "server/vm.h"

namespace lamina::server {

/// Appended to the reason of a refusal, when the peer was killed.
inline constexpr const char* kKilledToo = "; it was killed, because nothing would fill its memory";

/// A peer whose handshake is complete.
struct ArrivedPeer {
  os::Fd connection;
  ClaimedPeer claimed;
  pager::Handshake handshake;
};

/// The reason to refuse a peer whose process has ended, or is ending, during its handshake: any
/// other error is a consequence of that. nullopt if it lives.
std::optional<std::string> end_of(const os::NamedProcess& process, int pidfd);

/// Used by one thread.
class Admission {
 public:
  using Take = std::function<void(std::unique_ptr<Vm>)>;
  using Refuse = std::function<void(const std::string&)>;

  /// VMs go to `take`, reasons of refusals to `refuse`. If `take` throws, the VM is killed.
  /// `states` and `openings` must outlive this.
  Admission(const StateDirectory& states, Openings& openings, Take take, Refuse refuse)
      : states_(states), openings_(openings), take_(std::move(take)), refuse_(std::move(refuse)) {}
  Admission(const Admission&) = delete;
  Admission& operator=(const Admission&) = delete;
  Admission(Admission&&) = delete;
  Admission& operator=(Admission&&) = delete;
  ~Admission() = default;

  /// Never blocks: if the snapshot must be opened first, a thread opens it, and `take` is called
  /// once it is open. A peer whose snapshot is not open within a minute is refused.
  void admit(ArrivedPeer peer, const Endpoint& endpoint);

  /// Says why a peer was refused.
  void refuse(const std::string& reason) const { refuse_(reason); }

  /// True while snapshots of peers are being opened.
  [[nodiscard]] bool has_peers() const { return !arrived_.empty(); }

  /// In a child: closes its copies of descriptors and leaves everything else to the parent.
  void forget() { arrived_.clear(); }

  /// Refuses, and therefore kills, all peers that wait for their snapshots.
  void close();

 private:
  /// Has its own pidfd, so that the process can be killed whatever happens to the VM object.
  struct Arrived {
    ArrivedPeer peer;
    std::string directory;
    os::NamedProcess process;
    os::Fd pidfd;
  };

  Status begin(std::uint64_t number, const Endpoint& endpoint);
  void finish(std::uint64_t number, Result<Service> service);
  Status make_and_take(ArrivedPeer& peer, Result<Service> service);
  void refuse_and_kill(const Arrived& arrived, const Error& error);

  const StateDirectory& states_;
  Openings& openings_;
  Take take_;
  Refuse refuse_;
  std::map<std::uint64_t, Arrived> arrived_;
  std::uint64_t last_number_ = 0;
};

}  // namespace lamina::server
