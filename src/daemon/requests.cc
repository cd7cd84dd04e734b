#include "daemon/requests.h"

#include <limits>

#include "base/error.h"
#include "base/escape.h"
#include "schema/live_fork_request.h"
#include "schema/request_reader.h"
#include "schema/requests.h"

namespace lamina::daemon {
namespace {

using schema::Json;
using schema::RequestReader;

/// The fields of a JSON object in the body; an empty body has none. A query is refused.
Result<RequestReader> fields_of_body(const Request& request) {
  if (!request.query.empty()) {
    return fail(ErrorKind::kUsage, "'{}' takes its fields in the body, not in the query",
                escaped_value(request.path));
  }
  if (request.body.empty()) return RequestReader(Json::object(), RequestReader::Source::kBody);
  Json object = Json::parse(request.body, nullptr, false);
  if (!object.is_object()) return fail(ErrorKind::kUsage, "the body is not a JSON object");
  return RequestReader(std::move(object), RequestReader::Source::kBody);
}

/// The fields of the query. A body is refused.
Result<RequestReader> fields_of_query(const Request& request) {
  if (!request.body.empty()) {
    return fail(ErrorKind::kUsage, "{} '{}' takes no body", escaped_value(request.method),
                escaped_value(request.path));
  }
  Json object = Json::object();
  for (const auto& [name, value] : request.query) object[name] = value;
  return RequestReader(std::move(object), RequestReader::Source::kQuery);
}

/// Reads the options of a request from its body. `store`: where to put the field `store`, for
/// options without one.
template <typename Options>
Status read_body(const Request& request, Options& options, std::string* store = nullptr) {
  LAMINA_ASSIGN_OR_RETURN(RequestReader fields, fields_of_body(request));
  if (store != nullptr) fields.store(*store);
  schema::describe(fields, options);
  return fields.end();
}

}  // namespace

Result<std::string> snapshot_path(const std::string& store, const std::string& name) {
  if (name.empty() || name.find('/') != std::string::npos || name.find('\0') != std::string::npos ||
      name.starts_with('.')) {
    return fail(ErrorKind::kUsage, "'{}' is not the name of a snapshot", escaped_value(name));
  }
  return store + "/" + name;
}

Result<PauseOptions> read_pause(const Request& request) {
  PauseOptions options;
  LAMINA_RETURN_IF_ERROR(read_body(request, options));
  return options;
}

Result<schema::ResumeRequest> read_resume(const Request& request) {
  schema::ResumeRequest resume;
  LAMINA_RETURN_IF_ERROR(read_body(request, resume));
  return resume;
}

Result<LiveForkOptions> read_live_fork(const Request& request) {
  schema::LiveForkRequest fork;
  LAMINA_RETURN_IF_ERROR(read_body(request, fork));
  if (fork.clones.size() > kMaxClones) {
    return fail(ErrorKind::kUsage, "field 'clones' has {} clones, and at most {} are possible",
                fork.clones.size(), kMaxClones);
  }
  return schema::options_of(std::move(fork));
}

Result<StoreRequest<PushOptions>> read_push(const Request& request, const std::string& store) {
  StoreRequest<PushOptions> requested;
  PushOptions& options = requested.options;
  LAMINA_RETURN_IF_ERROR(read_body(request, options, &requested.store));
  LAMINA_ASSIGN_OR_RETURN(options.snapshot, snapshot_path(store, options.snapshot));
  return requested;
}

Result<StoreRequest<PullOptions>> read_pull(const Request& request) {
  StoreRequest<PullOptions> requested;
  LAMINA_RETURN_IF_ERROR(read_body(request, requested.options, &requested.store));
  return requested;
}

Result<StoreRequest<schema::PruneRequest>> read_prune(const Request& request) {
  StoreRequest<schema::PruneRequest> requested;
  LAMINA_RETURN_IF_ERROR(read_body(request, requested.options, &requested.store));
  return requested;
}

Result<RecoverOptions> read_recover(const Request& request) {
  RecoverOptions options;
  LAMINA_RETURN_IF_ERROR(read_body(request, options));
  return options;
}

Result<StoreRequest<ForkOptions>> read_fork(const Request& request, const std::string& store) {
  StoreRequest<ForkOptions> requested;
  ForkOptions& options = requested.options;
  LAMINA_RETURN_IF_ERROR(read_body(request, options, &requested.store));
  LAMINA_ASSIGN_OR_RETURN(options.snapshot, snapshot_path(store, options.snapshot));
  LAMINA_ASSIGN_OR_RETURN(options.fork, snapshot_path(store, options.fork));
  return requested;
}

Result<StoreRequest<RemoveOptions>> read_remove_several(const Request& request,
                                                        const std::string& store) {
  StoreRequest<RemoveOptions> requested;
  LAMINA_RETURN_IF_ERROR(read_body(request, requested.options, &requested.store));
  for (std::string& snapshot : requested.options.snapshots) {
    LAMINA_ASSIGN_OR_RETURN(snapshot, snapshot_path(store, snapshot));
  }
  return requested;
}

Result<StoreRequest<CompactOptions>> read_compact(const Request& request,
                                                  const std::string& policy) {
  StoreRequest<CompactOptions> requested;
  requested.options.policy = policy;
  LAMINA_RETURN_IF_ERROR(read_body(request, requested.options, &requested.store));
  return requested;
}

Result<RemoveOptions> read_remove(const Request& request, const std::string& name,
                                  const std::string& store) {
  RemoveOptions options;
  LAMINA_ASSIGN_OR_RETURN(RequestReader fields, fields_of_query(request));
  fields.flag(schema::kDryRunQuery, options.dry_run);
  fields.item(schema::kPauseIdQuery, options.pause_id, schema::kPauseIdFormat);
  LAMINA_RETURN_IF_ERROR(fields.end());
  LAMINA_ASSIGN_OR_RETURN(std::string path, snapshot_path(store, name));
  options.snapshots = {std::move(path)};
  return options;
}

Result<bool> read_list(const Request& request) {
  bool tree = false;
  LAMINA_ASSIGN_OR_RETURN(RequestReader fields, fields_of_query(request));
  fields.flag(schema::kTreeQuery, tree);
  LAMINA_RETURN_IF_ERROR(fields.end());
  return tree;
}

Result<std::uint64_t> read_events(const Request& request) {
  std::uint64_t after = 0;
  LAMINA_ASSIGN_OR_RETURN(RequestReader fields, fields_of_query(request));
  fields.number(schema::kAfterQuery, after, {});
  LAMINA_RETURN_IF_ERROR(fields.end());
  return after;
}

Status check_no_fields(const Request& request) {
  LAMINA_ASSIGN_OR_RETURN(RequestReader fields, fields_of_query(request));
  return fields.end();
}

}  // namespace lamina::daemon
