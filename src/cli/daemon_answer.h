// What the answer of a store's daemon comes to. It may be of another version, or be no answer of a
// daemon at all.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "lamina/result.h"
#include "schema/report_json.h"

namespace lamina::cli {

/// What the daemon has done, or why it could not. Nothing: it has not begun anything, so the verb
/// works by itself.
template <typename Report>
using Asked = std::optional<Result<Report>>;

/// Reads answers to one request. Used by one thread.
class AnswerReader {
 public:
  using Json = schema::Json;

  /// `store` as the user gave it.
  explicit AnswerReader(std::string store) : store_(std::move(store)) {}

  /// kFailed also when the answer makes no sense: then what was asked for may have been done or
  /// not, and the message says where to look.
  template <typename Report>
  [[nodiscard]] Asked<Report> read(unsigned status, const std::string& body) const {
    const auto document = read_document(status, body);
    if (!document) return std::nullopt;
    if (!*document) return Result<Report>(std::unexpected(document->error()));
    auto report = schema::from_json<Report>(**document);
    if (!report) return Result<Report>(std::unexpected(not_understood(report.error().message)));
    return report;
  }

 private:
  [[nodiscard]] Asked<Json> read_document(unsigned status, const std::string& body) const;
  [[nodiscard]] Error not_understood(std::string_view what) const;

  std::string store_;
};

}  // namespace lamina::cli
