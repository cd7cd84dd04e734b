// lamina ui: serves the console until a signal ends it.
#pragma once

#include <functional>
#include <string>

#include "lamina/result.h"

namespace lamina::ui {

struct ServerOptions {
  std::string store;   ///< path of a store; empty: `socket` is given
  std::string socket;  ///< path of a daemon's socket; empty: `store` is given
  std::string listen = "127.0.0.1:0";
  bool allow_actions = false;  ///< the page can remove snapshots and merge layers
  /// Called once with the URL, token included, when the console can be opened.
  std::function<void(const std::string& url)> ready;
};

/// Returns after SIGINT, SIGTERM or SIGHUP. kUsage: the options; kNotFound: no store, or no daemon;
/// kBusy: the port is in use; else kFailed. Changes the actions of these signals.
Status serve_console(const ServerOptions& options);

}  // namespace lamina::ui
