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

/// The field of an object; nullptr where it is none, or has no such field.
const Json* field_of(const Json& value, std::string_view name) {
  if (!value.is_object()) return nullptr;
  const auto found = value.find(name);
  return found == value.end() ? nullptr : &*found;
}

/// True for the answers that say that nothing was begun, for a reason that does not keep us from
/// doing it: we may not ask, or not this much, or it is the daemon of another store, or it stops.
bool is_left_to_us(unsigned status, const Json& body) {
  if (status == kForbidden || status == kTooLarge || status == kMisdirected) return true;
  if (status != kUnavailable) return false;
  const Json* error = field_of(body, "error");
  const Json* stopping = error == nullptr ? nullptr : field_of(*error, "stopping");
  return stopping != nullptr && *stopping == true;
}

}  // namespace

// Documents are never copied, which nlohmann's library does by recursion: what comes from another
// process may be nested deeper than the stack.
Asked<Json> AnswerReader::read_document(unsigned status, const std::string& body) const {
  Json document = Json::parse(body, nullptr, false);
  if (is_left_to_us(status, document)) return std::nullopt;
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
  return {ErrorKind::kFailed,
          fmt::format("the answer of the daemon of store '{0}' is not understood ({1}), as it may "
                      "be of another version; what was asked for may have been done: see 'lamina "
                      "ls {0}'",
                      store_, what)};
}

}  // namespace lamina::cli
