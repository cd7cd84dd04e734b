#include "cli/store_daemon.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "base/error.h"
#include "cli/output.h"
#include "lamina/serve.h"
#include "os/directory.h"
#include "os/file.h"
#include "os/path_walk.h"
#include "os/peer.h"
#include "os/unix_socket.h"

namespace lamina::cli {
namespace {

constexpr std::size_t kMaxReplyBytes = std::size_t{64} << 20;

/// How long a full backlog of the daemon's socket is waited for.
constexpr std::chrono::milliseconds kConnectTimeout{100};

/// The document as text; empty if it has a string that is not UTF-8, which JSON cannot carry.
std::optional<std::string> exact_text(const schema::Json& document) {
  try {
    return document.dump();
  } catch (const schema::Json::exception&) {
    return std::nullopt;
  }
}

}  // namespace

void add_no_daemon(CLI::App* verb, bool& no_daemon) {
  verb->add_flag("--no-daemon", no_daemon, "do not use the store's daemon");
}

std::optional<NamedSnapshot> named_snapshot(const std::string& path) {
  NamedSnapshot named;
  named.path = path;
  while (named.path.size() > 1 && named.path.ends_with('/')) named.path.pop_back();
  named.store = os::parent_of(named.path);
  named.name = named.path.substr(named.path.rfind('/') + 1);
  if (named.name.empty() || named.name.starts_with('.')) return std::nullopt;
  return named;
}

std::string path_in_store(const std::string& store, const std::string& name) {
  return store + "/" + name;
}

StoreDaemon::StoreDaemon(std::string given, std::string real)
    : given_(std::move(given)), real_(std::move(real)), reader_(given_) {}

std::optional<StoreDaemon> StoreDaemon::find(const std::string& store, bool no_daemon) {
  if (no_daemon) return std::nullopt;
  auto real = os::real_path(store);
  if (!real || !os::name_exists(AT_FDCWD, daemon_socket(*real))) return std::nullopt;
  return StoreDaemon(store, std::move(*real));
}

std::string StoreDaemon::absolute(const std::string& path, bool& done) {
  std::error_code error;
  std::string made = std::filesystem::absolute(path, error).string();
  if (error) done = false;
  return made;
}

std::string StoreDaemon::name_in_store(const std::string& path) {
  const auto snapshot = named_snapshot(path);
  return snapshot ? snapshot->name : path;
}

bool StoreDaemon::is_for(const std::string& store) const {
  return os::is_same_directory(store, real_);
}

Status StoreDaemon::check_peer(int socket) const {
  LAMINA_ASSIGN_OR_RETURN(const os::Peer peer, os::peer_of(socket));
  LAMINA_ASSIGN_OR_RETURN(const os::FileFacts store, os::facts_of_name(AT_FDCWD, real_, given_));
  // A daemon of another user does not keep this store: somebody has changed the link.
  if (peer.uid == store.user) return {};
  return fail(ErrorKind::kUsage,
              "the process at '{1}' is of user {0}, not of the store's owner, and is not asked",
              peer.uid, daemon_socket(given_));
}

DaemonReply<http::Response> StoreDaemon::send(std::string_view target, Json fields,
                                              Progress* progress) const {
  fields["store"] = real_;
  auto body = exact_text(fields);
  if (!body) return std::nullopt;
  http::WaitLimits limits;
  limits.progress = progress;
  limits.max_response_bytes = kMaxReplyBytes;
  const auto connection = os::connect_to(daemon_socket(real_), kConnectTimeout);
  if (!connection) return std::nullopt;
  if (const Status checked = check_peer(connection->get()); !checked) {
    if (checked.error().kind == ErrorKind::kUsage) print_message(checked.error().message);
    return std::nullopt;
  }
  auto done = http::exchange(connection->get(), {"POST", target, std::move(*body)}, limits);
  if (done.response) return std::move(done.response);
  const Error& error = done.response.error();
  if (error.kind == ErrorKind::kInterrupted && !done.sent) {
    return Result<http::Response>(std::unexpected(Error{error.kind, "interrupted"}));
  }
  if (done.sent_whole) return Result<http::Response>(std::unexpected(no_reply(error)));
  return std::nullopt;  // the daemon closed before it had the whole request: nothing was begun
}

Error StoreDaemon::no_reply(const Error& error) const {
  if (error.kind == ErrorKind::kInterrupted) {
    return {error.kind, fmt::format("interrupted; the daemon of store '{0}' goes on with it: see "
                                    "'lamina ls {0}'",
                                    given_)};
  }
  return {ErrorKind::kFailed,
          fmt::format(
              "the daemon of store '{0}' has not answered ({1}): the operation may have been done, "
              "in part or not at all; see 'lamina ls {0}', and run 'lamina recover {0}' "
              "before you try again",
              given_, error.message)};
}

std::string percent_encoded(std::string_view text) {
  constexpr std::string_view kPlain =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
  std::string encoded;
  for (const char c : text) {
    if (kPlain.find(c) != std::string_view::npos) {
      encoded += c;
    } else {
      encoded += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return encoded;
}

}  // namespace lamina::cli
