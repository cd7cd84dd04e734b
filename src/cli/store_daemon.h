// Sends a verb's request to the daemon of a store. docs/decisions/0008 says when a verb uses the
// daemon, and when it does the work in its own process.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "cli/daemon_answer.h"
#include "http/exchange.h"
#include "lamina/progress.h"
#include "lamina/result.h"
#include "schema/request_writer.h"

namespace lamina::cli {

/// Adds --no-daemon.
void add_no_daemon(CLI::App* verb, bool& no_daemon);

/// A snapshot's path in parts.
struct NamedSnapshot {
  std::string store;
  std::string name;
  std::string path;  ///< without slashes at the end
};

/// Splits a snapshot's path as the library does. Empty for a name that the daemon's API refuses.
std::optional<NamedSnapshot> named_snapshot(const std::string& path);

/// The path of the snapshot `name` in a reply, with `store` as the user gave it.
std::string path_in_store(const std::string& store, const std::string& name);

/// Client of a store's daemon. Used by one thread.
class StoreDaemon {
 public:
  using Json = schema::Json;

  /// The daemon of `store`. Empty with `no_daemon`, or if the store has no link to a daemon's
  /// socket. A link may lead nowhere: request() finds that out.
  static std::optional<StoreDaemon> find(const std::string& store, bool no_daemon);

  /// True if `store` is a path of the same store.
  [[nodiscard]] bool is_for(const std::string& store) const;

  /// Sends `options` to `target` and waits for the reply without a time limit. `progress`, which
  /// may be null, can interrupt the wait (kInterrupted: the daemon goes on).
  ///
  /// kFailed also if a sent request gets no reply, or one that cannot be understood: the operation
  /// may have been done or not, and the message names the command that tells.
  ///
  /// Empty if the request cannot be sent: there is no daemon, it belongs to another user, a path
  /// cannot be made absolute because the working directory is gone, or a text is not UTF-8.
  ///
  /// A reply names snapshots without the path of the store.
  template <typename Answer, typename Request>
  DaemonReply<Answer> request(std::string_view target, const Request& options,
                              Progress* progress) const {
    bool has_paths = true;
    Json fields = schema::RequestWriter::write(
        options,
        {[&](const std::string& path) { return absolute(path, has_paths); }, name_in_store});
    if (!has_paths) return std::nullopt;
    const auto response = send(target, std::move(fields), progress);
    if (!response) return std::nullopt;
    if (!*response) return Result<Answer>(std::unexpected(response->error()));
    return reader_.read<Answer>((*response)->status, (*response)->body);
  }

 private:
  StoreDaemon(std::string given, std::string real);

  /// Sets `done` to false if there is no working directory.
  static std::string absolute(const std::string& path, bool& done);
  static std::string name_in_store(const std::string& path);
  [[nodiscard]] DaemonReply<http::Response> send(std::string_view target, Json fields,
                                                 Progress* progress) const;
  /// kUsage if the process at the socket is not of the store's owner.
  [[nodiscard]] Status check_peer(int socket) const;
  /// The error of a request that was sent and got no reply.
  [[nodiscard]] Error no_reply(const Error& error) const;

  std::string given_;  ///< the store's path as the user gave it
  std::string real_;   ///< the same without symbolic links
  AnswerReader reader_;
};

/// `text` as one segment of a URL's path.
std::string percent_encoded(std::string_view text);

}  // namespace lamina::cli
