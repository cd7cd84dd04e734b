// What the console and lamina top read: a store, and the daemon that keeps it, if there is one.
#pragma once

#include <string>

#include "lamina/progress.h"
#include "lamina/result.h"
#include "schema/json.h"

namespace lamina::ui {

struct Source {
  std::string store;          ///< path
  std::string daemon_socket;  ///< empty: no daemon is asked
};

/// `store` or `socket` is empty. With a store, its daemon is used if one answers and keeps that
/// store. With a socket, the daemon there must answer, and tells the store. kUsage if both or
/// neither are given; kNotFound if there is no store, or nobody listens.
Result<Source> find_source(const std::string& store, const std::string& socket);

/// The body of the daemon's response to a GET; the daemon's error, or kFailed if it does not answer
/// within some seconds; kInterrupted if `progress`, which may be null, asks to stop. Thread-safe.
Result<std::string> read_daemon(const std::string& socket, const std::string& target,
                                Progress* progress = nullptr);

/// The same for a response in JSON.
Result<schema::Json> read_daemon_json(const std::string& socket, const std::string& target,
                                      Progress* progress = nullptr);

/// The JSON of the daemon's response to a POST. The daemon's error; kFailed if there is no whole
/// response within an hour, kInterrupted if `progress` asks to stop: then the request may have been
/// carried out, or still runs. Thread-safe.
Result<schema::Json> ask_daemon(const std::string& socket, const std::string& target,
                                const schema::Json& request, Progress& progress);

}  // namespace lamina::ui
