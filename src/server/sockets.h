// All sockets of a page server: those that VMs connect to, the control socket, and the metrics
// socket.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lamina/result.h"
#include "lamina/serve.h"
#include "server/acceptor.h"
#include "server/control_socket.h"
#include "server/handover.h"
#include "server/metrics_socket.h"
#include "server/store_place.h"

namespace lamina::server {

/// Used by one thread.
class Sockets {
 public:
  /// `store`: null if none is served. `store` and `options` must outlive this object.
  Sockets(const ServeOptions& options, const StorePlace* store)
      : options_(options), store_(store) {}

  /// Binds all sockets, the metrics socket last. On failure none is left in the file system.
  Status bind(const StateDirectory& states, std::vector<Endpoint> endpoints, Admission& admission);

  /// Takes a predecessor's sockets and binds those that it did not have. On failure the sockets
  /// that were not taken stay in `state`, and this may be called again.
  Status inherit(const StateDirectory& states, InheritedState& state,
                 std::vector<Endpoint> endpoints, Admission& admission);

  /// In a child, after fork(2): closes its copies of the clients' connections.
  void forget_clients();
  /// In the same child, if it later takes its parent's place.
  Status resume(bool listens);

  /// REQUIRES: bound or inherited.
  [[nodiscard]] Acceptor& acceptor() { return *acceptor_; }
  [[nodiscard]] const Acceptor& acceptor() const { return *acceptor_; }

  /// Readable when greet() has something to do; -1 during the back-off after accept(2) fails.
  [[nodiscard]] int control_fd() const { return control_ ? control_->fd() : -1; }
  void greet(const std::optional<std::string>& failure = {}) { control_->handle(failure); }

  /// Both readable when answer_metrics() has something to do. metrics_fd() is -1 during a back-off.
  [[nodiscard]] int metrics_fd() const { return metrics_ ? metrics_->fd() : -1; }
  [[nodiscard]] int metrics_clients_fd() const { return metrics_ ? metrics_->clients_fd() : -1; }
  void answer_metrics(const std::function<std::string()>& metrics) { metrics_->handle(metrics); }

  /// Drops peers and clients that have exceeded their time limit, and ends back-offs. Returns the
  /// milliseconds until it must be called again; -1: not before another function is called.
  int expire();

  /// Closes the sockets that VMs connect to, and removes all sockets from the file system.
  void close();

  [[nodiscard]] const Listener* control() const {
    return control_ ? &control_->listener() : nullptr;
  }
  [[nodiscard]] const Listener* metrics() const {
    return metrics_ ? &metrics_->listener() : nullptr;
  }

 private:
  [[nodiscard]] std::string control_path() const;
  [[nodiscard]] std::string metrics_path() const;
  Status bind_control(Listener inherited);
  Status bind_metrics(Listener inherited);

  const ServeOptions& options_;
  const StorePlace* store_;
  std::unique_ptr<Acceptor> acceptor_;
  std::optional<ControlSocket> control_;
  std::unique_ptr<MetricsSocket> metrics_;
};

}  // namespace lamina::server
