#include "ui/live_state.h"

#include <fmt/format.h>

#include "base/error.h"
#include "lamina/listing.h"
#include "lamina/serve.h"
#include "schema/report_json.h"

namespace lamina::ui {
namespace {

using schema::Json;

/// Running VMs, from the store's pins.
Json sessions_of_store(const std::string& store, Json& errors) {
  const auto listing = list_store(store);
  if (!listing) {
    errors.push_back(listing.error().message);
    return nullptr;
  }
  schema::SessionsAnswer answer;
  for (const PinListing& pin : listing->pins) {
    if (pin.running) answer.sessions.push_back(pin);
  }
  return schema::to_json(answer)["sessions"];
}

}  // namespace

Json live_json(const Source& source, Progress* progress) {
  Json errors = Json::array();
  Json state = {{"daemon", !source.daemon_socket.empty()},
                {"health", nullptr},
                {"metrics", nullptr},
                {"sessions", nullptr},
                {"push", nullptr}};
  if (source.daemon_socket.empty()) {
    state["sessions"] = sessions_of_store(source.store, errors);
    // A store without a page server is not an error.
    if (auto text = read_serve_metrics(page_server_metrics_socket(source.store), progress)) {
      state["metrics"] = *std::move(text);
    } else if (text.error().kind != ErrorKind::kNotFound) {
      errors.push_back(text.error().message);
    }
    state["errors"] = std::move(errors);
    return state;
  }
  const auto read = [&](const char* name, const char* target, const char* part) {
    auto document = read_daemon_json(source.daemon_socket, target, progress);
    if (!document) {
      errors.push_back(document.error().message);
    } else {
      state[name] = part == nullptr ? std::move(*document) : (*document)[part];
    }
  };
  read("health", "/v1/health", nullptr);
  read("sessions", "/v1/sessions", "sessions");
  read("push", "/v1/push", nullptr);
  if (auto text = read_daemon(source.daemon_socket, "/metrics", progress)) {
    state["metrics"] = *std::move(text);
  } else {
    errors.push_back(text.error().message);
  }
  state["errors"] = std::move(errors);
  return state;
}

Result<std::string> events_after(const Source& source, std::uint64_t after, Progress* progress) {
  if (source.daemon_socket.empty()) return std::string();
  return read_daemon(source.daemon_socket, fmt::format("/v1/events?after={}", after), progress);
}

}  // namespace lamina::ui
