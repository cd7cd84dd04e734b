// What a supervisor needs before it can listen: the state directory, the store and its lock, the
// log, the snapshots that were named at the start, and the endpoints. Opened at a first start, or
// taken from a predecessor that has executed this program.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "lamina/result.h"
#include "lamina/serve.h"
#include "os/fd.h"
#include "server/endpoint.h"
#include "server/handover.h"
#include "server/log_file.h"
#include "server/openings.h"
#include "server/served_vms.h"
#include "server/snapshots.h"
#include "server/state_directory.h"
#include "server/store_place.h"

namespace lamina::server {

class ServerResources {
 public:
  /// `options` must outlive this.
  ServerResources(const ServeOptions& options, Log log)
      : options_(options), log_(std::move(log)), snapshots_(options.populate, options.record) {}

  /// At a first start. Takes the store's lock before it touches anything else of the store.
  Status open();
  /// Opens the named snapshots, at once, by the threads of `openings`.
  Status open_endpoints(Openings& openings);

  /// Takes everything but sockets and VMs from a predecessor.
  void inherit(InheritedState& state);
  /// As open_endpoints(), but goes on without those whose snapshots are gone: the VMs of others
  /// need a server. The sockets that go with them are closed, and removed unless this is a trial.
  Status reopen_endpoints(InheritedState& state, Openings& openings);

  [[nodiscard]] const StateDirectory& states() const { return *states_; }
  [[nodiscard]] Snapshots& snapshots() { return snapshots_; }
  [[nodiscard]] const StorePlace* store() const { return store_ ? &*store_ : nullptr; }
  [[nodiscard]] const std::vector<Endpoint>& endpoints() const { return endpoints_; }
  [[nodiscard]] const LogFile& log_file() const { return log_file_; }
  /// True if the log is the store's own, which this server rotates.
  [[nodiscard]] bool rotates_log() const { return rotates_log_; }

  /// Its part of what a successor gets.
  [[nodiscard]] HandoverState handover_state() const;

 private:
  void add_store_endpoint();

  const ServeOptions& options_;
  Log log_;
  LogFile log_file_ = LogFile::of_stderr();
  bool rotates_log_ = false;
  std::unique_ptr<StateDirectory> states_;
  os::Fd store_lock_;
  std::optional<StorePlace> store_;
  Snapshots snapshots_;
  std::vector<Endpoint> endpoints_;
};

}  // namespace lamina::server
