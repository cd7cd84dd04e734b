#include "daemon/openapi.h"

#include <string>

#include "daemon/push_answers.h"
#include "daemon/routes.h"
#include "daemon/state_answers.h"
#include "schema/live_fork_report.h"
#include "schema/live_fork_request.h"
#include "schema/object_schema.h"
#include "schema/remote_reports.h"
#include "schema/remote_requests.h"
#include "schema/reports.h"
#include "schema/requests.h"

namespace lamina::daemon {
namespace {

using schema::Components;
using schema::Json;
using schema::reference_to;
using schema::ReportSchema;
using schema::RequestSchema;

/// Whether a request must have a body.
enum class Body : std::uint8_t { kRequired, kOptional };

Json content_of(Json schema, const char* type = "application/json") {
  return {{"content", {{type, {{"schema", std::move(schema)}}}}}};
}

Json done(const Json& content) {
  Json response = {{"description", "Done"}};
  response.update(content);
  return response;
}

/// Builds the description of one method of one path.
class OperationText {
 public:
  OperationText(Components& components, const char* id, const char* summary,
                const char* description = "")
      : components_(components), json_({{"operationId", id}, {"summary", summary}}) {
    if (*description != 0) json_["description"] = description;
  }

  template <typename Request>
  OperationText& with_body(const char* component, Body body) {
    components_[component] = RequestSchema::write<Request>(components_);
    json_["requestBody"] = {{"required", body == Body::kRequired}};
    json_["requestBody"].update(content_of(reference_to(component)));
    return *this;
  }

  OperationText& with_query(const schema::Field& field, Json schema) {
    json_["parameters"].push_back({{"name", field.name},
                                   {"in", "query"},
                                   {"description", field.help},
                                   {"schema", std::move(schema)}});
    return *this;
  }

  template <typename Report>
  Json with_report(const char* component) {
    if (!components_.contains(component)) {
      Json schema = ReportSchema::write<Report>(components_);
      components_[component] = std::move(schema);
    }
    return with_content(content_of(reference_to(component)));
  }

  Json with_content(const Json& content) {
    json_["responses"] = {{"200", done(content)},
                          {"default", {{"$ref", "#/components/responses/Failure"}}}};
    return std::move(json_);
  }

 private:
  Components& components_;
  Json json_;
};

Json text_schema() { return {{"type", "string"}}; }
Json flag_schema() { return {{"type", "boolean"}, {"default", false}}; }

Json lifecycle_operation(Operation operation, Components& c) {
  switch (operation) {
    case Operation::kPause:
      return OperationText(c, "pause", "Pause a VM into the store",
                           "A state that Firecracker has acknowledged is not lost: after a failure "
                           "it stays queued, and the VM's next pause or a recovery completes it. A "
                           "client that disconnects does not stop the pause. A snapshot at the "
                           "policy's hard limit is merged first.")
          .with_body<PauseOptions>("PauseRequest", Body::kRequired)
          .with_report<PauseReport>("Pause");
    case Operation::kResume:
      return OperationText(c, "resume", "Resume a VM from the store",
                           "Loads it into a Firecracker that was just started. A pin links the "
                           "snapshot's files while the VM runs.")
          .with_body<schema::ResumeRequest>("ResumeRequest", Body::kRequired)
          .with_report<ResumeReport>("Resume");
    case Operation::kForkLive:
      return OperationText(c, "forkLive", "Clone a VM that runs on",
                           "Takes a checkpoint, and resumes clones from it before it is on the "
                           "disk. Answers when the snapshot is on the disk and each clone runs or "
                           "has failed. If some clones fail, the status is 200 all the same, and "
                           "the body has the result of each. If the checkpoint fails, clones that "
                           "run all the same are in the error's notes.")
          .with_body<schema::LiveForkRequest>("ForkLiveRequest", Body::kRequired)
          .with_report<schema::LiveForkAnswer>("ForkLive");
    case Operation::kRecover:
      return OperationText(c, "recover", "Finish or remove what crashes have left")
          .with_body<RecoverOptions>("RecoverRequest", Body::kOptional)
          .with_report<schema::RecoverAnswer>("Recover");
    default:
      return {};
  }
}

Json snapshot_operation(Operation operation, Components& c) {
  switch (operation) {
    case Operation::kFork:
      return OperationText(c, "fork", "Give a snapshot a second name")
          .with_body<ForkOptions>("ForkRequest", Body::kRequired)
          .with_report<schema::ForkAnswer>("Fork");
    case Operation::kRemoveSeveral:
      return OperationText(c, "removeSeveral", "Remove snapshots",
                           "If one cannot be removed, the others are removed all the same: the "
                           "status is 200, and the body has the result of each. VMs that were "
                           "resumed from them run on.")
          .with_body<RemoveOptions>("RemoveRequest", Body::kRequired)
          .with_report<schema::RemoveAnswer>("Removals");
    case Operation::kInspect:
      return OperationText(c, "inspect", "A snapshot with its layers")
          .with_report<schema::InspectAnswer>("Snapshot");
    case Operation::kRemove:
      return OperationText(c, "remove", "Remove a snapshot",
                           "VMs that were resumed from it run on.")
          .with_query(schema::kDryRunQuery, flag_schema())
          .with_query(schema::kPauseIdQuery, text_schema())
          .with_report<schema::RemovalAnswer>("Removal");
    case Operation::kCompact:
      return OperationText(c, "compact", "Merge the layers that a policy chooses",
                           "Outcome 'dropped' means that pauses replaced the snapshot during each "
                           "attempt.")
          .with_body<CompactOptions>("CompactRequest", Body::kOptional)
          .with_report<schema::CompactAnswer>("Compact");
    default:
      return {};
  }
}

Json state_operation(Operation operation, Components& c) {
  switch (operation) {
    case Operation::kList:
      return OperationText(c, "list", "The contents of the store")
          .with_query(schema::kTreeQuery, flag_schema())
          .with_report<schema::ListAnswer>("Listing");
    case Operation::kSessions:
      return OperationText(c, "sessions", "Running VMs, and pins that cannot be read")
          .with_report<schema::SessionsAnswer>("Sessions");
    case Operation::kEvents:
      return OperationText(c, "events", "Recent operations, one JSON object per line",
                           "The daemon keeps the last --events of them.")
          .with_query(schema::kAfterQuery,
                      {{"type", "integer"}, {"format", "int64"}, {"minimum", 0}})
          .with_content(content_of(reference_to("Event"), "application/x-ndjson"));
    case Operation::kHealth:
      return OperationText(c, "health", "Whether the daemon works")
          .with_report<HealthAnswer>("Health");
    case Operation::kVersion:
      return OperationText(c, "version", "Version of the daemon")
          .with_report<VersionAnswer>("Version");
    case Operation::kOpenapi:
      return OperationText(c, "openapi", "This document")
          .with_content(content_of({{"type", "object"}}));
    case Operation::kMetrics:
      return OperationText(c, "metrics", "Metrics in the text format of Prometheus",
                           "Of the daemon, and of the store's page server if one runs.")
          .with_content(content_of({{"type", "string"}}, "text/plain"));
    default:
      return {};
  }
}

Json remote_operation(Operation operation, Components& c) {
  switch (operation) {
    case Operation::kPushQueue:
      return OperationText(c, "pushQueue", "The states that wait to be pushed",
                           "Of each name only the latest state waits.")
          .with_report<PushQueueAnswer>("PushQueue");
    case Operation::kPush:
      return OperationText(c, "push", "Push a snapshot to a bucket",
                           "Answers when the snapshot is whole in the bucket. A conflict is not an "
                           "error: the snapshot is then in the bucket under another name.")
          .with_body<PushOptions>("PushRequest", Body::kRequired)
          .with_report<schema::PushAnswer>("Push");
    case Operation::kPull:
      return OperationText(c, "pull", "Pull the newest state of a name from a bucket")
          .with_body<PullOptions>("PullRequest", Body::kRequired)
          .with_report<schema::PullAnswer>("Pull");
    case Operation::kPrune:
      return OperationText(c, "prune", "Remove what is not needed from a bucket",
                           "Older states that no rule keeps, then what nothing references. Without "
                           "a rule all states stay.")
          .with_body<schema::PruneRequest>("PruneRequest", Body::kOptional)
          .with_report<schema::PruneAnswer>("Prune");
    default:
      return {};
  }
}

Json operation_text(Operation operation, Components& components) {
  for (const auto part :
       {lifecycle_operation, snapshot_operation, state_operation, remote_operation}) {
    Json text = part(operation, components);
    if (!text.is_null()) return text;
  }
  return {};
}

Json name_parameter() {
  return {
      {"name", "name"},
      {"in", "path"},
      {"required", true},
      {"schema", {{"type", "string"}}},
      {"description", "1 to 200 letters, digits and ._-+@=:, beginning with a letter or digit"}};
}

/// Schemas without a description of their own: errors and events.
Components fixed_components() {
  const Json notes = {
      {"type", "array"}, {"items", text_schema()}, {"description", schema::kNotes.help}};
  const Json remedy = {
      {"type", "string"},
      {"description",
       "What can be done about it, where that is known. In backquotes: fields of the request, as "
       "`name` or `name=value`"}};
  Json kinds = text_schema();
  for (const auto& word : kWords<ErrorKind>) kinds["enum"].push_back(word.text);
  Components components = Json::object();
  components["Error"] = {
      {"type", "object"},
      {"required", {"error"}},
      {"properties",
       {{"error",
         {{"type", "object"},
          {"required", {"kind", "message", "notes"}},
          {"properties",
           {{"kind", kinds},
            {"message", text_schema()},
            {"remedy", remedy},
            {"notes", notes},
            {"stopping",
             {{"type", "boolean"},
              {"description",
               "Only with 503, if the daemon is stopping: nothing was begun"}}}}}}}}}};
  components["ItemError"] = {{"type", "object"},
                             {"required", {"kind", "message", "exit_code"}},
                             {"properties",
                              {{"kind", kinds},
                               {"message", text_schema()},
                               {"remedy", remedy},
                               {"exit_code", {{"type", "integer"}}}}}};
  components["Event"] = {
      {"type", "object"},
      {"description",
       "Has the fields of the operation's report; after a failure outcome, kind and message"},
      {"required", {"sequence", "time", "event"}},
      {"properties",
       {{"sequence",
         {{"type", "integer"},
          {"format", "int64"},
          {"minimum", 0},
          {"description", "One more than the last; it also grows across restarts of the daemon"}}},
        {"time", {{"type", "string"}, {"format", "date-time"}}},
        {"event",
         {{"type", "string"},
          {"enum",
           {"pause", "resume", "merge", "delete", "fork", "fork_live", "recover", "push", "pull",
            "prune", "evict"}}}}}}};
  return components;
}

Json failure() {
  Json response = {
      {"description",
       "400 usage (also an unknown field), 403 user not allowed, or no permission, 404 not found, "
       "405 wrong method, 409 busy or exists, 413 body over 64 KiB, 421 request for another store, "
       "431 header over 32 KiB, 500 failed or corrupt, 501 unsupported, 503 too busy, stopping or "
       "interrupted, 507 no space"}};
  response.update(content_of(reference_to("Error")));
  return response;
}

std::string lower(std::string_view text) {
  std::string made(text);
  for (char& c : made) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return made;
}

Json document() {
  Components components = fixed_components();
  Json paths = Json::object();
  for (const RoutePattern& pattern : route_patterns()) {
    Json& path = paths[std::string(pattern.path)];
    if (pattern.path.find('{') != std::string_view::npos && !path.contains("parameters")) {
      path["parameters"] = Json::array({name_parameter()});
    }
    path[lower(pattern.method)] = operation_text(pattern.operation, components);
  }
  return {{"openapi", "3.0.3"},
          {"info",
           {{"title", "laminad"},
            {"version", "1"},
            {"description",
             "Keeps the memory of paused microVMs, for one store. HTTP over a Unix socket. Unknown "
             "fields are refused. Field names are those of lamina's options and of its --json "
             "output."},
            {"license", {{"name", "see LICENSE"}}}}},
          {"servers", Json::array({{{"url", "http://localhost/"},
                                    {"description", "The Unix socket of --listen"}}})},
          {"paths", std::move(paths)},
          {"components",
           {{"responses", {{"Failure", failure()}}}, {"schemas", std::move(components)}}}};
}

}  // namespace

std::string_view openapi_text() {
  constexpr int kIndent = 2;
  static const std::string text = document().dump(kIndent) + "\n";
  return text;
}

}  // namespace lamina::daemon
