// The parts of a supervisor, made and joined: at a first start, or from what a predecessor has left
// that has executed this program.
#pragma once

#include <functional>
#include <memory>

#include "lamina/result.h"
#include "lamina/serve.h"
#include "server/admission.h"
#include "server/inherited_state.h"
#include "server/openings.h"
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

  /// At a first start. When it fails, VMs that were there before and can be served by no other
  /// server either have been killed; the rest wait for one.
  Status start();

  /// In the place of a predecessor, by exec. All that may fail, `first` before the rest, is done
  /// while its serving process still serves. When something does, this fails, and that process,
  /// which has open all that it needs, takes the place of this one; where there is none, it is
  /// tried again until it succeeds. In a trial only what may fail is done.
  Status succeed(InheritedState& state, const std::function<Status()>& first);

  /// For a successor.
  [[nodiscard]] StateToLeave to_leave(bool stopping) const;

  [[nodiscard]] ServerResources& resources() { return resources_; }
  [[nodiscard]] Openings& openings() { return openings_; }
  [[nodiscard]] VmKeeper& keeper() { return keeper_; }
  // REQUIRES: start() or succeed() has been called.
  [[nodiscard]] Admission& admission() { return *admission_; }
  [[nodiscard]] Takeover& takeover() { return *takeover_; }
  [[nodiscard]] Sockets& sockets() { return *sockets_; }
  [[nodiscard]] StrandedVms& stranded() { return stranded_; }

 private:
  Status join();
  Status listen();
  void decide_about_found_vms();
  Status prepare(InheritedState& state, std::vector<Result<Service>>& services);
  void add_left_vm(std::unique_ptr<Vm> vm, Result<Service> service);

  const ServeOptions& options_;
  Log log_;
  ServerResources resources_;
  Openings openings_;
  VmKeeper keeper_;
  std::unique_ptr<Admission> admission_;
  std::unique_ptr<Takeover> takeover_;
  std::unique_ptr<Sockets> sockets_;
  StrandedVms stranded_;
};

}  // namespace lamina::server
