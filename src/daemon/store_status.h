#pragma once

#include <optional>
#include <string>

#include "daemon/background_value.h"
#include "daemon/metrics.h"
#include "lamina/late_requests.h"
#include "lamina/listing.h"

namespace lamina::daemon {

/// The state of a store and of its page server, for metrics and health. It is read in the
/// background when a request asks for it, if the daemon has changed the store since or the last
/// reading is some seconds old. A request waits two seconds at most, and else gets the last
/// reading. Thread-safe.
class StoreStatus {
 public:
  explicit StoreStatus(const std::string& store);

  /// The daemon has changed the store. Does not wait.
  void changed() { figures_.invalidate(); }
  /// A VM has just connected to the page server, so it serves.
  void page_server_serves() { page_server_.set(true); }

  /// Writes the store's metrics.
  void write(MetricsText& text);

  /// The page server's metrics, after one that tells whether they were read: they are missing if no
  /// page server runs, or if it does not reply within a second.
  std::string page_server_metrics();

  /// True if the page server served when it was last asked. Asks again, without waiting, after a
  /// second. False before the first reply.
  bool has_page_server();

  /// Stops the threads without waiting for them.
  void stop();
  /// True if the threads have ended after stop().
  [[nodiscard]] bool has_ended() const;

 private:
  /// What the store's metrics are written from.
  struct Figures {
    StoreListing listing;
    std::optional<LateRequests> late_requests;  ///< unless they cannot be read
  };

  static Result<Figures> read(const std::string& store);

  BackgroundValue<Result<Figures>> figures_;
  BackgroundValue<Result<std::string>> metrics_;
  BackgroundValue<bool> page_server_;
};

}  // namespace lamina::daemon
