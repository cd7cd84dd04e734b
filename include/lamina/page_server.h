// The page server inside a program of yours, without processes of its own.
#pragma once

#include <memory>
#include <string>

#include "lamina/result.h"
#include "lamina/serve.h"

namespace lamina {

/// Serves the VMs that connect, from threads of this process. The VMs depend on the process: when
/// it ends or crashes they wait until it (or `lamina serve`) starts again with the same state
/// directory and takes them over, which needs the rights of ptrace over them. A program that cannot
/// promise to come back starts `lamina serve` instead, or calls serve().
///
/// A child that the program forks and that does not exec holds the VMs' locks with it: as long as
/// it lives, they are not taken over from a program that has died.
class PageServer {
 public:
  /// Opens the snapshots, listens, takes over the VMs that an earlier server left (those that it
  /// cannot serve are killed), and starts the threads. Of `options`, `once`, `metrics_socket` (but
  /// for that of a store, which is always there) and `restart_command` have no meaning here; `log`
  /// is called from a thread of the server.
  static Result<std::unique_ptr<PageServer>> start(const ServeOptions& options);

  PageServer(const PageServer&) = delete;
  PageServer& operator=(const PageServer&) = delete;
  PageServer(PageServer&&) = delete;
  PageServer& operator=(PageServer&&) = delete;
  /// Stops at once. VMs that are still served wait for the next start: detach() first, if there may
  /// be none.
  ~PageServer();

  /// Accepts nobody any more, fills the memory of every VM, so that it needs nobody, and returns
  /// when no VM is served.
  void detach();

  /// The metrics in Prometheus' text format. Thread-safe.
  [[nodiscard]] std::string metrics() const;

 private:
  class Implementation;
  explicit PageServer(std::unique_ptr<Implementation> implementation);

  std::unique_ptr<Implementation> implementation_;
};

}  // namespace lamina
