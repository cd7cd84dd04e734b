// Reads the replies of a store's daemon. The daemon may be of another version, and the reply may
// not come from a daemon at all.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "lamina/result.h"
#include "schema/report_json.h"

namespace lamina::cli {

/// What the daemon did, or why it failed. Empty: the daemon has not begun anything, and the verb
/// does the work in its own process.
template <typename Report>
using DaemonReply = std::optional<Result<Report>>;

/// The reply with `convert(answer)` in place of its answer. An empty reply and an error stay as
/// they are.
template <typename Answer, typename Convert>
DaemonReply<std::invoke_result_t<Convert, Answer>> convert_reply(DaemonReply<Answer> reply,
                                                                 const Convert& convert) {
  using Report = std::invoke_result_t<Convert, Answer>;
  if (!reply) return std::nullopt;
  if (!*reply) return Result<Report>(std::unexpected(std::move(reply->error())));
  return Result<Report>(convert(std::move(**reply)));
}

/// Reads the reply to one request. Used by one thread.
class AnswerReader {
 public:
  using Json = schema::Json;

  /// `store`: its path as the user gave it, for messages.
  explicit AnswerReader(std::string store) : store_(std::move(store)) {}

  /// Reads the body of a response with `status`. kFailed also if the body cannot be understood: the
  /// operation may have been done or not, and the message names the command that tells.
  template <typename Report>
  [[nodiscard]] DaemonReply<Report> read(unsigned status, const std::string& body) const {
    const auto document = read_document(status, body);
    if (!document) return std::nullopt;
    if (!*document) return Result<Report>(std::unexpected(document->error()));
    auto report = schema::from_json<Report>(**document);
    if (!report) return Result<Report>(std::unexpected(not_understood(report.error().message)));
    return report;
  }

 private:
  [[nodiscard]] DaemonReply<Json> read_document(unsigned status, const std::string& body) const;
  [[nodiscard]] Error not_understood(std::string_view what) const;

  std::string store_;
};

}  // namespace lamina::cli
