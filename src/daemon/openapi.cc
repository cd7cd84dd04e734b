#include "daemon/openapi.h"

#include <string>

#include "daemon/routes.h"
#include "daemon/state_answers.h"
#include "schema/object_schema.h"
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

/// What is said about one method of one path.
class OperationText {
 public:
  OperationText(Components& components, const char* id, const char* summary,
                const char* description = "")
      : components_(components), json_({{"operationId", id}, {"summary", summary}}) {
    if (*description != 0) json_["description"] = description;
  }

  template <typename Request>
  OperationText& takes(const char* component, Body body) {
    components_[component] = RequestSchema::write<Request>(components_);
    json_["requestBody"] = {{"required", body == Body::kRequired}};
    json_["requestBody"].update(content_of(reference_to(component)));
    return *this;
  }

  OperationText& takes_query(const schema::Field& field, Json schema) {
    json_["parameters"].push_back({{"name", field.name},
                                   {"in", "query"},
                                   {"description", field.help},
                                   {"schema", std::move(schema)}});
    return *this;
  }

  template <typename Report>
  Json gives(const char* component) {
    if (!components_.contains(component)) {
      Json schema = ReportSchema::write<Report>(components_);
      components_[component] = std::move(schema);
    }
    return answers(content_of(reference_to(component)));
  }

  Json answers(const Json& content) {
    json_["responses"] = {{"200", done(content)},
                          {"default", {{"$ref", "#/components/responses/Failure"}}}};
    return std::move(json_);
  }

 private:
  Components& components_;
  Json json_;
};

Json flag_schema() { return {{"type", "boolean"}, {"default", false}}; }

Json lifecycle_operation(Operation operation, Components& c) {
  switch (operation) {
    case Operation::kPause:
      return OperationText(c, "pause", "Pause a VM into the store",
                           "What Firecracker has acknowledged is never lost: after a failure it "
                           "stays queued, and the VM's next pause or a recovery completes it. A "
                           "client that goes away does not stop the pause. A snapshot at the "
                           "policy's hard limit is merged first.")
          .takes<PauseOptions>("PauseRequest", Body::kRequired)
          .gives<PauseReport>("Pause");
    case Operation::kResume:
      return OperationText(c, "resume", "Resume a VM from the store",
                           "Into a Firecracker that was just started. What it is resumed from is "
                           "pinned.")
          .takes<ResumeOptions>("ResumeRequest", Body::kRequired)
          .gives<ResumeReport>("Resume");
    case Operation::kRecover:
      return OperationText(c, "recover", "Put right what crashes left")
          .takes<RecoverOptions>("RecoverRequest", Body::kOptional)
          .gives<schema::RecoverAnswer>("Recover");
    default:
      return {};
  }
}

Json snapshot_operation(Operation operation, Components& c) {
  switch (operation) {
    case Operation::kFork:
      return OperationText(c, "fork", "Give a snapshot a second name")
          .takes<ForkOptions>("ForkRequest", Body::kRequired)
          .gives<schema::ForkAnswer>("Fork");
    case Operation::kRemoveSeveral:
      return OperationText(c, "removeSeveral", "Remove snapshots",
                           "One that cannot be removed does not keep the others: the answer is 200 "
                           "and says of each what became of it. VMs that were resumed from them "
                           "run on.")
          .takes<RemoveOptions>("RemoveRequest", Body::kRequired)
          .gives<schema::RemoveAnswer>("Removals");
    case Operation::kInspect:
      return OperationText(c, "inspect", "A snapshot with its layers")
          .gives<schema::InspectAnswer>("Snapshot");
    case Operation::kRemove:
      return OperationText(c, "remove", "Remove a snapshot",
                           "VMs that were resumed from it run on.")
          .takes_query(schema::kDryRunQuery, flag_schema())
          .gives<schema::RemovalAnswer>("Removal");
    case Operation::kCompact:
      return OperationText(c, "compact", "Merge the layers that a policy chooses",
                           "Outcome 'dropped' means that pauses came in between each time.")
          .takes<CompactOptions>("CompactRequest", Body::kOptional)
          .gives<schema::CompactAnswer>("Compact");
    default:
      return {};
  }
}

Json state_operation(Operation operation, Components& c) {
  switch (operation) {
    case Operation::kList:
      return OperationText(c, "list", "What the store holds")
          .takes_query(schema::kTreeQuery, flag_schema())
          .gives<schema::ListAnswer>("Listing");
    case Operation::kSessions:
      return OperationText(c, "sessions", "The VMs that run, and pins that cannot be read")
          .gives<schema::SessionsAnswer>("Sessions");
    case Operation::kEvents:
      return OperationText(c, "events", "What has happened, one JSON object a line",
                           "The daemon keeps the last ones (--events).")
          .takes_query(schema::kAfterQuery,
                       {{"type", "integer"}, {"format", "int64"}, {"minimum", 0}})
          .answers(content_of(reference_to("Event"), "application/x-ndjson"));
    case Operation::kHealth:
      return OperationText(c, "health", "Whether the daemon works").gives<HealthAnswer>("Health");
    case Operation::kVersion:
      return OperationText(c, "version", "Which daemon it is").gives<VersionAnswer>("Version");
    case Operation::kOpenapi:
      return OperationText(c, "openapi", "This document").answers(content_of({{"type", "object"}}));
    case Operation::kMetrics:
      return OperationText(c, "metrics", "Figures, in the text format of Prometheus",
                           "Those of the daemon, and of the store's page server where one runs.")
          .answers(content_of({{"type", "string"}}, "text/plain"));
    default:
      return {};
  }
}

Json operation_text(Operation operation, Components& components) {
  for (const auto part : {lifecycle_operation, snapshot_operation, state_operation}) {
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

Json text_schema() { return {{"type", "string"}}; }

/// What no request or report describes: errors and events.
Components given_components() {
  const Json notes = {
      {"type", "array"}, {"items", text_schema()}, {"description", schema::kNotes.help}};
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
            {"notes", notes},
            {"stopping",
             {{"type", "boolean"},
              {"description", "Only where the daemon stops, with 503: nothing was begun"}}}}}}}}}};
  components["ItemError"] = {
      {"type", "object"},
      {"required", {"kind", "message", "exit_code"}},
      {"properties",
       {{"kind", kinds}, {"message", text_schema()}, {"exit_code", {{"type", "integer"}}}}}};
  components["Event"] = {
      {"type", "object"},
      {"description",
       "With the fields of that operation's report; of a failure, with outcome, kind and message"},
      {"required", {"sequence", "time", "event"}},
      {"properties",
       {{"sequence",
         {{"type", "integer"},
          {"format", "int64"},
          {"minimum", 0},
          {"description", "Grows by one; across restarts of the daemon it grows too"}}},
        {"time", {{"type", "string"}, {"format", "date-time"}}},
        {"event",
         {{"type", "string"},
          {"enum", {"pause", "resume", "merge", "delete", "fork", "recover"}}}}}}};
  return components;
}

Json failure() {
  Json response = {
      {"description",
       "400 usage (also a field that is not known), 403 not this user, 404 not found, 405 wrong "
       "method, 409 busy, 413 body over 64 KiB, 421 meant for another store, 500 failed or "
       "corrupt, 503 too busy, stopping or interrupted, 507 no space"}};
  response.update(content_of(reference_to("Error")));
  return response;
}

std::string lower(std::string_view text) {
  std::string made(text);
  for (char& c : made) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return made;
}

Json document() {
  Components components = given_components();
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
             "Keeps the memory of paused microVMs, for one store. HTTP over a Unix socket. Fields "
             "that are not described are refused. Field names are those of lamina's options and of "
             "its --json output."},
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
