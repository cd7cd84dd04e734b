#include "ui/actions.h"

#include <fmt/format.h>

#include <cstdint>

#include "base/error.h"
#include "base/escape.h"
#include "lamina/compact.h"
#include "lamina/remove.h"
#include "lamina/words.h"
#include "schema/error_json.h"
#include "schema/json.h"

namespace lamina::ui {
namespace {

using schema::Json;

/// A name as a part of a path in a URL.
std::string percent_encoded(std::string_view name) {
  std::string made;
  for (const char c : name) {
    const bool is_plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
                          (c >= 'A' && c <= 'Z') || c == '-' || c == '_' || c == '.';
    made += is_plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return made;
}

std::string removed_text(std::uint64_t freed_bytes) {
  return fmt::format("removed; {} bytes freed", freed_bytes);
}

/// What the daemon reports of the one snapshot of a removal.
Result<std::string> removal_of(const Json& report) {
  const auto all = report.find("snapshots");
  if (all == report.end() || !all->is_array() || all->size() != 1) {
    return fail(ErrorKind::kFailed, "the daemon's report of the removal is incomplete");
  }
  const Json& one = all->front();
  if (one.contains("error") && one["error"].is_object()) {
    auto error = schema::error_from_json(one["error"]);
    if (error) return std::unexpected(std::move(*error));
  }
  const auto freed = one.find("freed_bytes");
  return removed_text(freed != one.end() && freed->is_number_unsigned()
                          ? freed->get<std::uint64_t>()
                          : std::uint64_t{0});
}

Result<std::string> remove(const Source& source, const std::string& name,
                           const std::optional<Uuid>& pause_id, Progress& progress) {
  if (!source.daemon_socket.empty()) {
    Json request = {{"store", source.store}, {"snapshots", Json::array({name})}};
    if (pause_id) request["pause_id"] = pause_id->to_string();
    LAMINA_ASSIGN_OR_RETURN(const Json report,
                            ask_daemon(source.daemon_socket, "/v1/remove", request, progress));
    return removal_of(report);
  }
  RemoveOptions options;
  options.snapshots = {source.store + "/" + name};
  options.pause_id = pause_id;
  options.progress = &progress;
  LAMINA_ASSIGN_OR_RETURN(const RemoveReport report, remove_snapshots(options));
  if (const Error* error = report.first_error()) return std::unexpected(*error);
  return removed_text(report.snapshots.front().freed_bytes);
}

Result<std::string> merge(const Source& source, const std::string& name, Progress& progress) {
  std::string outcome;
  if (!source.daemon_socket.empty()) {
    LAMINA_ASSIGN_OR_RETURN(
        const Json report,
        ask_daemon(source.daemon_socket, "/v1/snapshots/" + percent_encoded(name) + "/compact",
                   Json{{"store", source.store}}, progress));
    const auto found = report.find("outcome");
    if (found != report.end() && found->is_string()) outcome = found->get<std::string>();
  } else {
    CompactOptions options;
    options.snapshot = source.store + "/" + name;
    options.progress = &progress;
    LAMINA_ASSIGN_OR_RETURN(const CompactReport report, compact(options));
    outcome = word_of(report.outcome);
  }
  if (outcome == "nothing") return std::string("the merge policy has nothing to merge");
  return outcome;
}

}  // namespace

Result<std::string> act(const Source& source, std::string_view action, const std::string& name,
                        const std::optional<Uuid>& pause_id, Progress& progress) {
  if (action == "remove") return remove(source, name, pause_id, progress);
  if (action == "merge") return merge(source, name, progress);
  return fail(ErrorKind::kNotFound, "there is no action '{}'", escaped_value(action));
}

}  // namespace lamina::ui
