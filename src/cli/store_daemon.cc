#include "cli/store_daemon.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "base/error.h"
#include "cli/output.h"
#include "http/exchange.h"
#include "lamina/serve.h"
#include "sys/directory.h"
#include "sys/file.h"
#include "sys/peer.h"

namespace lamina::cli {
namespace {

constexpr long kOk = 200;
constexpr long kForbidden = 403;
constexpr long kTooLarge = 413;
constexpr long kMisdirected = 421;
constexpr long kUnavailable = 503;

constexpr std::size_t kMaxAnswerBytes = std::size_t{64} << 20;

/// The document as it is sent; nothing when it has a text that is not UTF-8: no request can say it.
std::optional<std::string> exact_text(const report::Json& document) {
  try {
    return document.dump();
  } catch (const report::Json::exception&) {
    return std::nullopt;
  }
}

/// True for the answers that say that nothing was begun, for a reason that does not keep us from
/// doing it: we may not ask, or not this much, or it is the daemon of another store, or it stops.
bool is_left_to_us(long status, const report::Json& body) {
  if (status == kForbidden || status == kTooLarge || status == kMisdirected) return true;
  if (status != kUnavailable || !body.is_object()) return false;
  const auto error = body.find("error");
  return error != body.end() && error->is_object() &&
         error->value("stopping", report::Json()) == true;
}

}  // namespace

void add_no_daemon(CLI::App* verb, bool& no_daemon) {
  verb->add_flag("--no-daemon", no_daemon, "work without the daemon of the store");
}

std::optional<NamedSnapshot> named_snapshot(const std::string& path) {
  NamedSnapshot named;
  named.path = path;
  while (named.path.size() > 1 && named.path.ends_with('/')) named.path.pop_back();
  named.store = sys::parent_of(named.path);
  named.name = named.path.substr(named.path.rfind('/') + 1);
  if (named.name.empty() || named.name.starts_with('.')) return std::nullopt;
  return named;
}

StoreDaemon::StoreDaemon(std::string given, std::string real)
    : given_(std::move(given)), real_(std::move(real)) {
  paths_.add(real_, given_);
}

std::optional<StoreDaemon> StoreDaemon::of(const std::string& store, bool no_daemon) {
  if (no_daemon) return std::nullopt;
  auto real = sys::real_path(store);
  if (!real || !sys::name_exists(AT_FDCWD, daemon_socket(*real))) return std::nullopt;
  return StoreDaemon(store, std::move(*real));
}

std::string StoreDaemon::absolute(const std::string& path) {
  std::error_code error;
  std::string made = std::filesystem::absolute(path, error).string();
  has_bad_path_ = has_bad_path_ || error;
  paths_.add(made, path);
  return made;
}

void StoreDaemon::show_as_given(const NamedSnapshot& snapshot) {
  paths_.add(real_ + "/" + snapshot.name, snapshot.path);
}

bool StoreDaemon::keeps(const std::string& store) const {
  return sys::is_same_directory(store, real_);
}

Status StoreDaemon::check_peer(int socket) const {
  LAMINA_ASSIGN_OR_RETURN(const sys::Peer peer, sys::peer_of(socket));
  LAMINA_ASSIGN_OR_RETURN(const sys::FileFacts store, sys::facts_of_name(AT_FDCWD, real_, given_));
  if (peer.uid == 0 || peer.uid == store.user || peer.uid == ::geteuid()) return {};
  return fail(
      ErrorKind::kUsage,
      "user {} answers at '{}', who is neither root nor the store's owner, and is not asked",
      peer.uid, daemon_socket(given_));
}

Asked<report::Json> StoreDaemon::ask_for_json(std::string_view target, Json fields,
                                              Progress* progress) const {
  fields["store"] = real_;
  auto body = exact_text(fields);
  if (!body || has_bad_path_) return std::nullopt;
  http::Patience patience;
  patience.progress = progress;
  patience.max_answer_bytes = kMaxAnswerBytes;
  const auto done = http::exchange(daemon_socket(real_), {"POST", target, std::move(*body)},
                                   patience, [this](int socket) { return check_peer(socket); });
  if (done.answer) return read_answer(done.answer->status, done.answer->body);
  const Error& error = done.answer.error();
  if (error.kind == ErrorKind::kInterrupted && !done.sent) {
    return Result<Json>(std::unexpected(Error{error.kind, "interrupted"}));
  }
  if (done.sent_whole) return Result<Json>(std::unexpected(unanswered(error)));
  // Nobody was there, or went before the request was whole, or is nobody to ask.
  if (error.kind == ErrorKind::kUsage) print_message(error.message);
  return std::nullopt;
}

Asked<report::Json> StoreDaemon::read_answer(long status, const std::string& body) const {
  Json document = Json::parse(body, nullptr, false);
  if (is_left_to_us(status, document)) return std::nullopt;
  paths_.show(document);
  if (status == kOk) {
    if (document.is_discarded()) {
      return Result<Json>(std::unexpected(not_understood("it is no JSON")));
    }
    return Result<Json>(std::move(document));
  }
  const bool has_error = document.is_object() && document.contains("error");
  const auto error = report::error_from_json(has_error ? document["error"] : Json());
  if (error) return Result<Json>(std::unexpected(*error));
  return Result<Json>(
      std::unexpected(not_understood(fmt::format("status {}: {}", status, error.error().message))));
}

Error StoreDaemon::not_understood(std::string_view what) const {
  return {ErrorKind::kFailed,
          fmt::format("the answer of the daemon of store '{0}' is not understood ({1}), as it may "
                      "be of another version; what was asked for may have been done: see 'lamina "
                      "ls {0}'",
                      given_, what)};
}

Error StoreDaemon::unanswered(const Error& error) const {
  if (error.kind == ErrorKind::kInterrupted) {
    return {error.kind, fmt::format("interrupted; the daemon of store '{0}' goes on with it: see "
                                    "'lamina ls {0}'",
                                    given_)};
  }
  return {
      ErrorKind::kFailed,
      fmt::format("the daemon of store '{0}' has not answered ({1}): what was asked for may "
                  "have been done or not, or half; see 'lamina ls {0}', and give 'lamina recover "
                  "{0}' before you ask again",
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
