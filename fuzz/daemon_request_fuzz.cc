// Requests to the daemon: whatever they are, what is wrong with them is said shortly and without
// control characters, and what is taken names nothing outside the store.
//
// An input is "METHOD PATH?NAME=VALUE&…", a newline, and the body; "!" before the method: it
// arrived on the metrics socket. The server has percent-decoded the path and the query already.
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/escape.h"
#include "check.h"
#include "daemon/requests.h"
#include "daemon/routes.h"

namespace {

using namespace lamina;
using lamina::fuzz::check;
using namespace lamina::daemon;

constexpr const char* kStore = "/srv/store";

std::string_view take_until(std::string_view& text, char end) {
  const std::string_view taken = text.substr(0, text.find(end));
  text.remove_prefix(std::min(taken.size() + 1, text.size()));
  return taken;
}

Request request_of(std::string_view input) {
  Request request;
  std::string_view head = take_until(input, '\n');
  if (head.starts_with('!')) {
    request.listener = kMetricsListener;
    head.remove_prefix(1);
  }
  request.method = take_until(head, ' ');
  request.path = take_until(head, '?');
  while (!head.empty()) {
    std::string_view pair = take_until(head, '&');
    const std::string name(take_until(pair, '='));
    request.query[name] = pair;
  }
  request.body = input;
  return request;
}

void check_error(const Error& error) {
  constexpr std::size_t kMaxMessageBytes = 2 * kMaxEscapedValueBytes + 512;
  check(error.kind == ErrorKind::kUsage);
  check(!error.message.empty() && error.message.size() <= kMaxMessageBytes);
  check(escaped_line(error.message) == error.message);
}

template <typename T>
bool is_given(const Result<T>& result) {
  if (!result) check_error(result.error());
  return result.has_value();
}

/// A path that was made of a name is one step below the store.
void check_path(const std::string& path) {
  const std::string before = std::string(kStore) + "/";
  check(path.starts_with(before) && path.size() > before.size() && path[before.size()] != '.');
  check(path.find('/', before.size()) == std::string::npos);
  check(path.find('\0') == std::string::npos);
}

void check_name(const std::string& name) {
  const auto path = snapshot_path(kStore, name);
  if (is_given(path)) check_path(*path);
}

/// A field that is a text is not empty where it must be given, and has no NUL.
void check_text(const std::string& text) { check(text.find('\0') == std::string::npos); }

void check_vmm(const VmmAddress& vmm) {
  constexpr std::chrono::hours kLongest{24};
  check(!vmm.api_socket.empty());
  check_text(vmm.api_socket);
  check_text(vmm.jail);
  for (const auto timeout : {vmm.timeouts.request, vmm.timeouts.create}) {
    check(timeout.count() > 0 && timeout <= kLongest);
  }
}

void decode_pause(const Request& request) {
  const auto options = read_pause(request);
  if (!is_given(options)) return;
  check_vmm(options->vmm);
  check(!options->name.empty());
  check_name(options->name);
  check_text(options->store);
  check_text(options->frozen_hook);
  check(options->hook_timeout.count() > 0);
  for (const std::string& file : options->attachments) {
    check(!file.empty());
    check_text(file);
  }
}

void decode_resume(const Request& request) {
  const auto meant = read_resume(request);
  if (!is_given(meant)) return;
  const ResumeOptions* const options = &meant->options;
  check_vmm(options->vmm);
  check(!options->name.empty() && options->page_server_command.empty());
  check_name(options->name);
  check_text(options->vsock_override);
  for (const NetworkOverride& network : options->network_overrides) {
    check(!network.interface_id.empty() && !network.host_device.empty());
    check(network.interface_id.find('=') == std::string::npos);
    check_text(network.interface_id + network.host_device);
  }
}

void decode_fork(const Request& request) {
  const auto meant = read_fork(request, kStore);
  if (!is_given(meant)) return;
  check_path(meant->options.snapshot);
  check_path(meant->options.fork);
}

void decode_remove_several(const Request& request) {
  const auto meant = read_remove_several(request, kStore);
  if (!is_given(meant)) return;
  check(!meant->options.snapshots.empty());
  for (const std::string& path : meant->options.snapshots) check_path(path);
}

/// Only the daemon's own options have keys and commands.
template <typename Options>
void check_no_key(const Options& options) {
  check(options.key_file.empty() && options.key_command.empty());
}

void decode_push(const Request& request) {
  const auto meant = read_push(request, kStore);
  if (!is_given(meant)) return;
  check_path(meant->options.snapshot);
  check_text(meant->options.name + meant->options.url);
  check_no_key(meant->options);
}

void decode_pull(const Request& request) {
  const auto meant = read_pull(request);
  if (!is_given(meant)) return;
  const PullOptions& options = meant->options;
  check(!options.name.empty() && options.store.empty());
  check_name(options.as.empty() ? options.name : options.as);
  check_no_key(options);
}

void decode_prune(const Request& request) {
  const auto meant = read_prune(request);
  if (is_given(meant)) check_text(meant->options.url + meant->options.names);
}

void decode_compact(const Request& request, const std::string& name) {
  check_name(name);
  const auto meant = read_compact(request, kDefaultMergePolicy);
  if (!is_given(meant)) return;
  check(!meant->options.policy.empty());
  static_cast<void>(check_merge_policy(meant->options.policy));
}

void decode_fork_live(const Request& request) {
  const auto meant = read_live_fork(request);
  if (!is_given(meant)) return;
  check_vmm(meant->pause.vmm);
  check(!meant->pause.name.empty());
  check_name(meant->pause.name);
  check(!meant->clones.empty() && meant->clones.size() <= kMaxClones &&
        meant->devices.size() == meant->clones.size());
  for (const VmmAddress& clone : meant->clones) check_vmm(clone);
}

void decode(const Request& request, const Route& route) {
  switch (route.operation) {
    case Operation::kPause:
      return decode_pause(request);
    case Operation::kResume:
      return decode_resume(request);
    case Operation::kFork:
      return decode_fork(request);
    case Operation::kForkLive:
      return decode_fork_live(request);
    case Operation::kRecover:
      return static_cast<void>(is_given(read_recover(request)));
    case Operation::kRemoveSeveral:
      return decode_remove_several(request);
    case Operation::kList:
      return static_cast<void>(is_given(read_list(request)));
    case Operation::kRemove: {
      const auto options = read_remove(request, route.name, kStore);
      if (is_given(options)) check_path(options->snapshots.front());
      return;
    }
    case Operation::kCompact:
      return decode_compact(request, route.name);
    case Operation::kPush:
      return decode_push(request);
    case Operation::kPull:
      return decode_pull(request);
    case Operation::kPrune:
      return decode_prune(request);
    case Operation::kEvents:
      return static_cast<void>(is_given(read_events(request)));
    case Operation::kInspect:
      check_name(route.name);
      [[fallthrough]];
    case Operation::kSessions:
    case Operation::kHealth:
    case Operation::kVersion:
    case Operation::kOpenapi:
    case Operation::kMetrics:
    case Operation::kPushQueue:
      return static_cast<void>(is_given(check_no_fields(request)));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const Request request = request_of({reinterpret_cast<const char*>(data), size});
  const Routing routing = find_route(request);
  if (!routing.route) return 0;
  check(routing.allowed.find(request.method) != std::string::npos);
  check(routing.route->name.find('/') == std::string::npos);
  check(request.listener == kApiListener || routing.route->operation == Operation::kMetrics);
  decode(request, *routing.route);
  return 0;
}
