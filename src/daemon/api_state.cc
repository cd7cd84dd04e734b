#include "daemon/api.h"
#include "daemon/openapi.h"
#include "daemon/requests.h"
#include "daemon/state_answers.h"
#include "lamina/version.h"
#include "schema/report_writer.h"

namespace lamina::daemon {

Response Api::events(const Request& request, const std::string& /*name*/) const {
  const auto after = read_events(request);
  if (!after) return error_response(after.error());
  Response response;
  response.content_type = "application/x-ndjson";
  response.body = parts_.events.lines_after(*after);
  return response;
}

Response Api::health(const Request& request, const std::string& /*name*/) const {
  if (const Status good = check_no_fields(request); !good) return error_response(good.error());
  const auto [connections, requests] = parts_.load();
  return json_response(
      schema::ReportWriter::write(HealthAnswer{.store = parts_.store,
                                               .recovered = parts_.recoverer.has_recovered(),
                                               .page_server = parts_.status.has_page_server(),
                                               .connections = connections,
                                               .requests = requests,
                                               .queued_merges = parts_.merger.queued(),
                                               .queued_pushes = parts_.pusher.queued()}));
}

Response Api::version(const Request& request, const std::string& /*name*/) const {
  if (const Status good = check_no_fields(request); !good) return error_response(good.error());
  return json_response(schema::ReportWriter::write(VersionAnswer{.version = lamina::version()}));
}

Response Api::openapi(const Request& request, const std::string& /*name*/) const {
  if (const Status good = check_no_fields(request); !good) return error_response(good.error());
  Response response;
  response.body = openapi_text();
  return response;
}

Response Api::metrics(const Request& request, const std::string& /*name*/) const {
  if (const Status good = check_no_fields(request); !good) return error_response(good.error());
  MetricsText text;
  const auto [connections, requests] = parts_.load();
  parts_.metrics.write(text);
  text.one("http_connections", "gauge", "Connected clients.", static_cast<double>(connections));
  text.one("http_requests_running", "gauge", "Requests without a response yet.",
           static_cast<double>(requests));
  text.one("merge_queue", "gauge", "Snapshots that wait for the merger, and the one it works on.",
           static_cast<double>(parts_.merger.queued()));
  parts_.pusher.write(text);
  parts_.status.write(text);
  Response response;
  response.content_type = "text/plain; version=0.0.4; charset=utf-8";
  response.body = text.take() + parts_.status.page_server_metrics();
  return response;
}

}  // namespace lamina::daemon
