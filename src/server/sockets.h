// The sockets of a page server together: those that VMs connect to, the control socket and that of
// the metrics.
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
#include "server/inherited_state.h"
#include "server/metrics_socket.h"
#include "server/store_place.h"

namespace lamina::server {

/// Used by one thread.
class Sockets {
 public:
  /// `store`: null where none is served. It, and `options`, must outlive this.
  Sockets(const ServeOptions& options, const StorePlace* store)
      : options_(options), store_(store) {}

  /// Binds all, that of the metrics last. On failure none is left in the file system.
  Status bind(const StateDirectory& states, std::vector<Endpoint> endpoints, Admission& admission);

  /// Takes those of a predecessor; what it lacks is bound. On failure what was not taken stays in
  /// `state`, and this may be called again.
  Status inherit(const StateDirectory& states, InheritedState& state,
                 std::vector<Endpoint> endpoints, Admission& admission);

  /// In a child, after fork(2): does not answer any more.
  void forget_clients();
  /// In the same child when it takes its parent's place, after all.
  Status resume(bool listens);

  /// REQUIRES: bound or inherited.
  [[nodiscard]] Acceptor& acceptor() { return *acceptor_; }
  [[nodiscard]] const Acceptor& acceptor() const { return *acceptor_; }

  [[nodiscard]] int control_fd() const { return control_ ? control_->fd() : -1; }
  void greet() const { control_->handle(); }

  /// Both readable when answer_metrics() has something to do.
  [[nodiscard]] int metrics_fd() const { return metrics_ ? metrics_->fd() : -1; }
  [[nodiscard]] int metrics_clients_fd() const { return metrics_ ? metrics_->clients_fd() : -1; }
  void answer_metrics(const std::function<std::string()>& metrics) { metrics_->handle(metrics); }

  /// Gives up peers and clients whose time is over. Returns the milliseconds until the next one's
  /// is; -1: none waits.
  int expire();

  /// Closes those that VMs connect to, and removes all from the file system.
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
