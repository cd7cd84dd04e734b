// The page server as threads of the calling process.
#pragma once

#include <memory>
#include <string>

#include "lamina/result.h"
#include "lamina/serve.h"

namespace lamina {

/// Serves the VMs that connect, from threads of this process. The VMs depend on the process: if it
/// ends or crashes, they stop at their next page fault until a page server (this one, or `lamina
/// serve`) starts with the same state directory and takes them over. Taking over needs ptrace
/// rights over the VMs' processes. A program that may not come back should start `lamina serve`
/// instead, or call serve().
///
/// A forked child that does not exec shares the VMs' locks: while it lives, the VMs of a dead
/// parent are not taken over.
///
/// start(), detach() and the destructor belong to one thread; metrics() is thread-safe. The threads
/// of the server block signals (lamina/store.h), and it does not notify a service manager.
class PageServer {
 public:
  /// Opens the snapshots, listens on the sockets, takes over the VMs that an earlier server has
  /// left (VMs that it cannot serve are killed), and starts the threads. VMs can connect when it
  /// returns.
  ///
  /// Ignores `once` and `restart_command` of `options`. `log` is called from this thread until
  /// start() returns, then from a thread of the server, never from two at once. It must not use the
  /// PageServer.
  ///
  /// On failure there are neither threads nor sockets; the errors are those of serve().
  static Result<std::unique_ptr<PageServer>> start(const ServeOptions& options);

  PageServer(const PageServer&) = delete;
  PageServer& operator=(const PageServer&) = delete;
  PageServer(PageServer&&) = delete;
  PageServer& operator=(PageServer&&) = delete;
  /// Stops at once. VMs that are still served stop at their next page fault until another server
  /// takes them over; to avoid that, call detach() first.
  ~PageServer();

  /// Stops accepting VMs, fills all memory of the VMs that are served, so that they need no page
  /// server any more, and returns when that is done. It takes as long as reading their memory, and
  /// cannot be interrupted. Afterwards only metrics() and the destructor are of use.
  void detach();

  /// The metrics in Prometheus' text format (docs/page-faults.md). Thread-safe.
  [[nodiscard]] std::string metrics() const;

 private:
  class Implementation;
  explicit PageServer(std::unique_ptr<Implementation> implementation);

  std::unique_ptr<Implementation> implementation_;
};

}  // namespace lamina
