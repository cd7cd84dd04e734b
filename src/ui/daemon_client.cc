#include "ui/daemon_client.h"

#include <chrono>
#include <optional>

#include "base/error.h"
#include "http/exchange.h"
#include "lamina/listing.h"
#include "lamina/serve.h"
#include "os/directory.h"
#include "os/file.h"
#include "os/path_walk.h"
#include "os/unix_socket.h"
#include "schema/error_json.h"

namespace lamina::ui {
namespace {

constexpr std::size_t kMaxResponseBytes = std::size_t{64} << 20;
constexpr std::chrono::milliseconds kConnectTimeout{200};
constexpr std::chrono::seconds kTimeout{5};
/// A merge of many layers takes minutes.
constexpr std::chrono::hours kActionTimeout{1};

std::optional<std::string> text_field(const schema::Json& document, const char* name) {
  const auto found = document.find(name);
  if (found == document.end() || !found->is_string()) return std::nullopt;
  return found->get<std::string>();
}

/// The store of the daemon that listens at `socket`.
Result<std::string> store_of_daemon(const std::string& socket) {
  LAMINA_ASSIGN_OR_RETURN(const schema::Json health, read_daemon_json(socket, "/v1/health"));
  auto store = text_field(health, "store");
  if (!store) return fail(ErrorKind::kFailed, "the process at '{}' is not laminad", socket);
  return *std::move(store);
}

/// The body of a response of status 200, or the error that the daemon reports.
Result<std::string> body_of(http::Exchange done, const std::string& socket,
                            const std::string& target) {
  if (!done.response) return std::unexpected(std::move(done.response.error()));
  constexpr unsigned kOk = 200;
  if (done.response->status == kOk) return std::move(done.response->body);
  const auto document = schema::Json::parse(done.response->body, nullptr, false);
  if (document.is_object() && document.contains("error")) {
    auto error = schema::error_from_json(document["error"]);
    if (error) return std::unexpected(std::move(*error));
  }
  return fail(ErrorKind::kFailed, "'{}' answered {} with status {}", socket, target,
              done.response->status);
}

Result<schema::Json> document_of(const std::string& body, const std::string& socket,
                                 const std::string& target) {
  schema::Json document = schema::Json::parse(body, nullptr, false);
  if (document.is_object()) return document;
  return fail(ErrorKind::kFailed, "'{}' answered {} with something else than JSON", socket, target);
}

}  // namespace

Result<Source> find_source(const std::string& store, const std::string& socket) {
  if (store.empty() == socket.empty()) {
    return with_remedy(fail(ErrorKind::kUsage, "one source is needed: a store or a daemon"),
                       "set either `store=DIR` or `socket=PATH`");
  }
  if (store.empty()) {
    LAMINA_ASSIGN_OR_RETURN(std::string path, store_of_daemon(socket));
    return Source{std::move(path), socket};
  }
  LAMINA_ASSIGN_OR_RETURN(std::string path, os::real_path(store));
  Source source{std::move(path), daemon_socket(store)};
  const auto kept = store_of_daemon(source.daemon_socket);
  if (!kept || !os::is_same_directory(*kept, source.store)) source.daemon_socket.clear();
  return source;
}

Result<std::string> read_daemon(const std::string& socket, const std::string& target,
                                Progress* progress) {
  LAMINA_ASSIGN_OR_RETURN(const os::Fd connection, os::connect_to(socket, kConnectTimeout));
  http::WaitLimits limits;
  limits.timeout = kTimeout;
  limits.progress = progress;
  limits.max_response_bytes = kMaxResponseBytes;
  return body_of(http::exchange(connection.get(), {"GET", target, ""}, limits), socket, target);
}

Result<schema::Json> read_daemon_json(const std::string& socket, const std::string& target,
                                      Progress* progress) {
  LAMINA_ASSIGN_OR_RETURN(const std::string body, read_daemon(socket, target, progress));
  return document_of(body, socket, target);
}

Result<schema::Json> ask_daemon(const std::string& socket, const std::string& target,
                                const schema::Json& request, Progress& progress) {
  LAMINA_ASSIGN_OR_RETURN(const os::Fd connection, os::connect_to(socket, kConnectTimeout));
  http::WaitLimits limits;
  limits.timeout = kActionTimeout;
  limits.progress = &progress;
  limits.max_response_bytes = kMaxResponseBytes;
  LAMINA_ASSIGN_OR_RETURN(
      const std::string body,
      body_of(http::exchange(connection.get(), {"POST", target, schema::json_text(request, -1)},
                             limits),
              socket, target));
  return document_of(body, socket, target);
}

}  // namespace lamina::ui
