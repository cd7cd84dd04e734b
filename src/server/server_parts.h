// Creates the parts of a supervisor and connects them: at a first start, or from the state that a
// predecessor has handed over by exec(2).
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>

#include "lamina/result.h"
#include "lamina/serve.h"
#include "server/admission.h"
#include "server/handover.h"
#include "server/openings.h"
#include "server/predecessor.h"
#include "server/server_resources.h"
#include "server/sockets.h"
#include "server/stranded.h"
#include "server/takeover.h"
#include "server/vm_keeper.h"

namespace lamina::server {

/// Used by one thread.
class ServerParts {
 public:
  /// `options` must outlive this. `body` is what a serving process does.
  ServerParts(const ServeOptions& options, Log log, WorkerProcess::Body body);

  /// At a first start. If it fails, VMs of an earlier server that no server could serve have been
  /// killed; the others wait for the next server.
  Status start();

  /// After an exec in place of a predecessor. Everything that may fail (`first` before the rest) is
  /// done while the predecessor's serving process still serves. On failure this process must end,
  /// and that process, which has everything open, takes its place. If there is no such process, the
  /// steps are repeated until they succeed. The VMs stay in predecessor(): see
  /// settle_predecessor(). In a trial only the steps that may fail are done, including opening the
  /// VMs' snapshots.
  Status succeed(InheritedState& state, const std::function<Status()>& first);

  /// To be called in each round of the loop: takes the VMs over from the predecessor once all their
  /// snapshots are open. Peers wait in the backlog until then. On failure this process must end, as
  /// above.
  Status settle_predecessor();
  /// Until all VMs were taken over from the predecessor.
  [[nodiscard]] bool has_predecessor() const { return predecessor_.is_there() || outcome_; }
  /// How many VMs are still to be taken over.
  [[nodiscard]] std::size_t inherited_count() const;

  /// For a successor.
  [[nodiscard]] HandoverState handover_state(bool stopping) const;

  [[nodiscard]] ServerResources& resources() { return resources_; }
  [[nodiscard]] Openings& openings() { return openings_; }
  [[nodiscard]] VmKeeper& keeper() { return keeper_; }
  [[nodiscard]] Predecessor& predecessor() { return predecessor_; }
  // REQUIRES: start() or succeed() has been called.
  [[nodiscard]] Admission& admission() { return *admission_; }
  [[nodiscard]] Takeover& takeover() { return *takeover_; }
  [[nodiscard]] Sockets& sockets() { return *sockets_; }
  [[nodiscard]] StrandedVms& stranded() { return stranded_; }

 private:
  Status join();
  Status listen();
  void decide_about_found_vms();
  Status prepare(InheritedState& state);
  void add_inherited_vm(std::unique_ptr<Vm> vm, Result<Service> service);

  const ServeOptions& options_;
  Log log_;
  ServerResources resources_;
  Openings openings_;
  VmKeeper keeper_;
  Predecessor predecessor_;
  std::optional<Predecessor::Outcome> outcome_;  ///< VMs that are to be taken over now
  std::unique_ptr<Admission> admission_;
  std::unique_ptr<Takeover> takeover_;
  std::unique_ptr<Sockets> sockets_;
  StrandedVms stranded_;
};

}  // namespace lamina::server
