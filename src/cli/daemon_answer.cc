#include "cli/daemon_answer.h"

#include <fmt/format.h>

namespace lamina::cli {
namespace {

using schema::Json;

constexpr long kOk = 200;
constexpr long kForbidden = 403;
constexpr long kTooLarge = 413;
constexpr long kMisdirected = 421;
constexpr long kUnavailable = 503;

/// A field of an object; nullptr if `value` is not an object or has no such field.
const Json* field_of(const Json& value, std::string_view name) {
  if (!value.is_object()) return nullptr;
  const auto found = value.find(name);
  return found == value.end() ? nullptr : &*found;
}

/// True if the daemon refused the request before it began anything, for a reason that does not stop
/// this process from doing the work: the user may not use the daemon, the request is too large, the
/// daemon keeps another store, or it is stopping.
bool is_refused_unbegun(unsigned status, const Json& body) {
  if (status == kForbidden || status == kTooLarge || status == kMisdirected) return true;
  if (status != kUnavailable) return false;
  const Json* error = field_of(body, "error");
  const Json* stopping = error == nullptr ? nullptr : field_of(*error, "stopping");
  return stopping != nullptr && *stopping == true;
}

}  // namespace

// Never copy the document: nlohmann's library copies by recursion, and a document of another
// process may be nested more deeply than the stack allows.
DaemonReply<Json> AnswerReader::read_document(unsigned status, const std::string& body) const {
  Json document = Json::parse(body, nullptr, false);
  if (is_refused_unbegun(status, document)) return std::nullopt;
  if (status == kOk) {
    if (document.is_discarded()) {
      return Result<Json>(std::unexpected(not_understood("it is not JSON")));
    }
    return Result<Json>(std::move(document));
  }
  const Json none;
  const Json* said = field_of(document, "error");
  const auto error = schema::error_from_json(said != nullptr ? *said : none);
  if (error) return Result<Json>(std::unexpected(*error));
  return Result<Json>(
      std::unexpected(not_understood(fmt::format("status {}: {}", status, error.error().message))));
}

Error AnswerReader::not_understood(std::string_view what) const {
  return {
      ErrorKind::kFailed,
      fmt::format("the reply of the daemon of store '{0}' is not understood ({1}); the daemon may "
                  "be of another version, and the operation may have been done: see 'lamina ls "
                  "{0}'",
                  store_, what)};
}

}  // namespace lamina::cli
