// From a whole handshake to a VM that can be served: its snapshot is opened, its state made.
//
// A peer that has come so far has handed over its userfaultfd and keeps a copy: it is served, or
// killed, since its threads would wait for their pages for ever.
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

/// A peer whose handshake is whole.
struct ArrivedPeer {
  os::Fd connection;
  ClaimedPeer claimed;
  pager::Handshake handshake;
};

/// The refusal of a peer that has ended, or is ending, in its handshake; whatever else went wrong
/// follows from that. Nothing when it has not.
std::optional<std::string> end_of(const os::NamedProcess& process, int pidfd);

/// Used by one thread.
class Admission {
 public:
  using Take = std::function<void(std::unique_ptr<Vm>)>;
  using Refuse = std::function<void(const std::string&)>;

  /// VMs go to `take`, the reasons of refusals to `refuse`. When `take` throws it has not taken the
  /// VM, which is killed. `states` and `openings` must outlive this.
  Admission(const StateDirectory& states, Openings& openings, Take take, Refuse refuse)
      : states_(states), openings_(openings), take_(std::move(take)), refuse_(std::move(refuse)) {}
  Admission(const Admission&) = delete;
  Admission& operator=(const Admission&) = delete;
  Admission(Admission&&) = delete;
  Admission& operator=(Admission&&) = delete;
  ~Admission() = default;

  /// Never waits: a snapshot that is to be opened first is opened elsewhere, and the VM taken when
  /// it is open. One that is not within a minute is given up.
  void admit(ArrivedPeer peer, const Endpoint& endpoint);

  /// Says why a peer was refused.
  void refuse(const std::string& reason) const { refuse_(reason); }

  /// True while snapshots of peers are being opened.
  [[nodiscard]] bool has_peers() const { return !arrived_.empty(); }

  /// In a child: closes its copies, and leaves everything else to the parent.
  void forget() { arrived_.clear(); }

  /// Refuses, and so kills, all that wait.
  void close();

 private:
  /// With a pidfd of its own: whatever becomes of the VM, its process can be killed.
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
