// Asking the daemon that keeps a store to do what a verb is for. docs/decisions/0008 says when it
// is asked, and when a verb works by itself.
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

/// Where a snapshot is and what it is called there.
struct NamedSnapshot {
  std::string store;
  std::string name;
  std::string path;  ///< as messages have it
};

/// Takes a snapshot's path apart as the library does; nothing for a name that no request can have.
std::optional<NamedSnapshot> named_snapshot(const std::string& path);

/// The path of a snapshot that an answer names: `store` as the user gave it.
std::string path_in_store(const std::string& store, const std::string& name);

/// One request to the daemon of a store. Used by one thread.
class StoreDaemon {
 public:
  using Json = schema::Json;

  /// Whom to ask about `store`; nothing when there is nobody, or `no_daemon`. That there is
  /// somebody means a link only: ask() finds out whether it leads to a daemon.
  static std::optional<StoreDaemon> of(const std::string& store, bool no_daemon);

  /// True when both paths lead to this store.
  [[nodiscard]] bool keeps(const std::string& store) const;

  /// Sends `request` to `target` and waits for the answer for as long as it takes; `progress`,
  /// where there is one, can interrupt that (kInterrupted: the daemon goes on). kFailed also when
  /// what was sent got no answer, or one that makes no sense: then what was asked for may have been
  /// done or not, and the message says where to look. Nothing when the request cannot be sent: a
  /// path cannot be made absolute because the working directory is gone, or it has a text that is
  /// not UTF-8. Answers name snapshots, and say nothing of where the caller finds the store.
  template <typename Answer, typename Request>
  Asked<Answer> ask(std::string_view target, const Request& request, Progress* progress) const {
    bool has_paths = true;
    Json fields = schema::RequestWriter::write(
        request,
        {[&](const std::string& path) { return absolute(path, has_paths); }, name_in_store});
    if (!has_paths) return std::nullopt;
    const auto answer = send(target, std::move(fields), progress);
    if (!answer) return std::nullopt;
    if (!*answer) return Result<Answer>(std::unexpected(answer->error()));
    return reader_.read<Answer>((*answer)->status, (*answer)->body);
  }

 private:
  StoreDaemon(std::string given, std::string real);

  /// `done` becomes false when there is no working directory.
  static std::string absolute(const std::string& path, bool& done);
  static std::string name_in_store(const std::string& path);
  [[nodiscard]] Asked<http::Response> send(std::string_view target, Json fields,
                                           Progress* progress) const;
  [[nodiscard]] Status check_peer(int socket) const;
  [[nodiscard]] Error unanswered(const Error& error) const;

  std::string given_;
  std::string real_;
  AnswerReader reader_;
};

/// `text` as one part of a request's path.
std::string percent_encoded(std::string_view text);

}  // namespace lamina::cli
