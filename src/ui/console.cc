#include "ui/console.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <optional>
#include <sstream>
#include <utility>

#include "base/error.h"
#include "base/escape.h"
#include "schema/error_json.h"
#include "schema/json.h"
#include "ui/actions.h"
#include "ui/assets.h"
#include "ui/live_state.h"
#include "ui/page.h"
#include "ui/plain_tables.h"
#include "ui/snapshot_model.h"

namespace lamina::ui {
namespace {

constexpr unsigned kOk = 200;
constexpr unsigned kBadRequest = 400;
constexpr unsigned kNotFound = 404;
constexpr unsigned kFailed = 500;
constexpr const char* kHtml = "text/html; charset=utf-8";
constexpr const char* kJson = "application/json";
constexpr const char* kPlainText = "text/plain; charset=utf-8";

unsigned status_of(ErrorKind kind) {
  if (kind == ErrorKind::kUsage) return kBadRequest;
  return kind == ErrorKind::kNotFound ? kNotFound : kFailed;
}

std::string parameter(const http::ServerRequest& request, const std::string& name) {
  const auto found = request.query.find(name);
  return found == request.query.end() ? "" : found->second;
}

std::optional<std::uint64_t> number_of(std::string_view text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

bool is_asset_for_browsers(std::string_view path) {
  return path == kConsoleScript || path.ends_with(".css");
}

std::string one_line_text(const schema::Json& document) { return schema::json_text(document, -1); }

http::ServerResponse response(unsigned status, std::string content_type, std::string body) {
  http::ServerResponse response;
  response.status = status;
  response.content_type = std::move(content_type);
  response.body = std::move(body);
  return response;
}

}  // namespace

http::HeaderFields Console::response_fields() const {
  return {{"Content-Security-Policy",
           fmt::format("default-src 'none'; script-src 'self'; style-src 'self' 'nonce-{}'; "
                       "img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
                       "frame-ancestors 'none'; require-trusted-types-for 'script'",
                       style_nonce_)},
          {"X-Content-Type-Options", "nosniff"},
          {"X-Frame-Options", "DENY"},
          {"Referrer-Policy", "no-referrer"},
          {"Cross-Origin-Opener-Policy", "same-origin"},
          {"Cross-Origin-Resource-Policy", "same-origin"},
          {"Cache-Control", "no-store"}};
}

http::ServerResponse Console::refused(unsigned status, const std::string& message) {
  constexpr unsigned kNotAllowed = 405;
  http::ServerResponse made = response(status, kPlainText, message + "\n");
  if (status == kNotAllowed) made.allow = "GET, HEAD";
  return made;
}

std::optional<http::ServerResponse> Console::check(const http::ServerRequest& request,
                                                   const http::HeaderFields& fields) const {
  const auto refusal = refusal_of(request, fields, rules_);
  if (!refusal) return std::nullopt;
  http::ServerResponse made = refused(refusal->status, refusal->message);
  if (!made.allow.empty() && !rules_.action_token.empty()) made.allow += ", POST";
  return made;
}

bool Console::is_quick(const http::ServerRequest& request) const {
  const std::string_view path = path_below_token(request, rules_);
  if (request.method == "POST") return false;
  return path.empty() || is_asset_for_browsers(path);
}

bool Console::is_action(const http::ServerRequest& request) { return request.method == "POST"; }

bool Console::is_live(const http::ServerRequest& request) const {
  return path_below_token(request, rules_) == "api/live";
}

http::ServerResponse Console::handle(const http::ServerRequest& request) {
  const std::string_view path = path_below_token(request, rules_);
  if (request.method == "POST") return action(request, path);
  if (path.empty()) return response(kOk, kHtml, console_page(rules_.action_token, style_nonce_));
  if (path == kConsoleScript) {
    return response(kOk, "text/javascript; charset=utf-8", console_script());
  }
  if (is_asset_for_browsers(path)) {
    if (const auto found = asset(path)) {
      return response(kOk, "text/css; charset=utf-8", std::string(*found));
    }
  }
  if (path == "api/live") return live(request);
  if (path.starts_with("api/")) return api(request, path.substr(path.find('/') + 1));
  if (path == "plain" || path == "plain/snapshot") return plain(request, path);
  return refused(kNotFound, fmt::format("there is no '{}'", escaped_value(path)));
}

Result<std::string> Console::api_text(const http::ServerRequest& request, std::string_view path) {
  const std::string name = parameter(request, "name");
  if (path == "store") {
    LAMINA_ASSIGN_OR_RETURN(const auto entry, cache_.get());
    return entry->json;
  }
  if (path == "snapshot") {
    LAMINA_ASSIGN_OR_RETURN(const auto entry, cache_.get());
    LAMINA_ASSIGN_OR_RETURN(const schema::Json document, snapshot_json(entry->listing, name));
    return one_line_text(document);
  }
  if (path == "merge") {
    LAMINA_ASSIGN_OR_RETURN(const schema::Json document, merge_json(source_.store, name));
    return one_line_text(document);
  }
  if (path == "block") {
    const auto offset = number_of(parameter(request, "offset"));
    if (!offset) return fail(ErrorKind::kUsage, "offset must be a number of bytes");
    LAMINA_ASSIGN_OR_RETURN(const schema::Json document, block_json(source_.store, name, *offset));
    return one_line_text(document);
  }
  return fail(ErrorKind::kNotFound, "there is no 'api/{}'", escaped_value(path));
}

http::ServerResponse Console::api(const http::ServerRequest& request, std::string_view path) {
  auto text = api_text(request, path);
  if (text) return response(kOk, kJson, *std::move(text));
  return response(status_of(text.error().kind), kJson,
                  one_line_text({{"error", schema::error_json(text.error())}}));
}

/// Only snapshots that the store lists: a name is never taken as a path.
http::ServerResponse Console::action(const http::ServerRequest& request, std::string_view path) {
  constexpr std::string_view kActions = "api/act/";
  const std::string name = parameter(request, "name");
  const auto done = [&]() -> Result<std::string> {
    if (!path.starts_with(kActions)) {
      return fail(ErrorKind::kNotFound, "there is no action '{}'", escaped_value(path));
    }
    LAMINA_ASSIGN_OR_RETURN(const auto entry, cache_.get());
    const auto& all = entry->listing.snapshots;
    if (std::ranges::find(all, name, &SnapshotListing::name) == all.end()) {
      return fail(ErrorKind::kNotFound, "there is no snapshot '{}'", escaped_value(name));
    }
    std::optional<Uuid> pause_id;
    if (const std::string given = parameter(request, "pause"); !given.empty()) {
      const auto id = Uuid::parse(given);
      if (!id) return fail(ErrorKind::kUsage, "'{}' is not a pause id", escaped_value(given));
      pause_id = *id;
    }
    auto result = act(source_, path.substr(kActions.size()), name, pause_id, stop_);
    cache_.forget();
    return result;
  }();
  if (done) return response(kOk, kJson, one_line_text({{"message", *done}}));
  return response(status_of(done.error().kind), kJson,
                  one_line_text({{"error", schema::error_json(done.error())}}));
}

http::ServerResponse Console::plain(const http::ServerRequest& request, std::string_view path) {
  const auto entry = cache_.get();
  if (!entry) return refused(status_of(entry.error().kind), escaped_line(entry.error().message));
  if (path == "plain") {
    return response(kOk, kHtml,
                    plain_page("lamina", store_tables((*entry)->listing, Links::kYes), "page.css"));
  }
  const std::string name = parameter(request, "name");
  const auto snapshot = snapshot_json((*entry)->listing, name);
  if (!snapshot) {
    return refused(status_of(snapshot.error().kind), escaped_line(snapshot.error().message));
  }
  return response(
      kOk, kHtml,
      plain_page(name + " - lamina",
                 "<p><a href=\"../plain\">All snapshots</a></p>\n" + snapshot_tables(*snapshot),
                 "../page.css"));
}

/// Server-sent events. The response ends at once, and the page asks again after a second, with the
/// number of the last event that it has seen: so no request occupies a connection for long, and
/// there is nothing to end when the console stops.
http::ServerResponse Console::live(const http::ServerRequest& request) {
  const std::uint64_t after = number_of(parameter(request, "after")).value_or(0);
  schema::Json state = live_json(source_, &stop_);
  const auto events = events_after(source_, after, &stop_);
  if (!events) state["errors"].push_back(events.error().message);
  std::string body = fmt::format("event: state\ndata: {}\n\n", one_line_text(state));
  std::istringstream lines(events ? *events : std::string());
  for (std::string line; std::getline(lines, line);) {
    const auto document = schema::Json::parse(line, nullptr, false);
    if (!document.is_object()) continue;
    const auto sequence = document.find("sequence");
    if (sequence == document.end() || !sequence->is_number_unsigned()) continue;
    body += fmt::format("id: {}\nevent: event\ndata: {}\n\n", sequence->get<std::uint64_t>(),
                        one_line_text(document));
  }
  return response(kOk, "text/event-stream", std::move(body));
}

}  // namespace lamina::ui
