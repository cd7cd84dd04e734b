#pragma once

#include <string>

#include "daemon/background_look.h"
#include "daemon/metrics.h"
#include "lamina/listing.h"

namespace lamina::daemon {

/// What a store holds and whether its page server is there, as metrics and for health. Looked at in
/// the background when asked for, and again when something has changed by our hand, or the last
/// look is some seconds old. However long a look takes, a request waits two seconds for it at most,
/// and then gets what was seen last. Thread-safe.
class StoreFigures {
 public:
  explicit StoreFigures(const std::string& store);

  /// Something has been changed. Waits for nobody.
  void changed() { listing_.outdate(); }
  /// A VM has just been given to the page server.
  void saw_page_server() { page_server_.set(true); }

  void write(MetricsText& text);

  /// The metrics of the page server when it answers within a second; else empty.
  std::string of_page_server();

  /// Whether the page server serves, as seen last: a question that is a second old is asked anew,
  /// and not waited for. False until it has been seen.
  bool has_page_server();

  /// Begins to end; true when the looks have ended.
  void stop();
  [[nodiscard]] bool has_ended() const;

 private:
  BackgroundLook<Result<StoreListing>> listing_;
  BackgroundLook<std::string> metrics_;
  BackgroundLook<bool> page_server_;
};

}  // namespace lamina::daemon
