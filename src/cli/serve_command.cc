#include <fmt/format.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <memory>
#include <sstream>
#include <string_view>

#include "base/error.h"
#include "cli/command_line.h"
#include "cli/output.h"
#include "cli/working_directory.h"
#include "lamina/serve.h"
#include "os/own_process.h"
#include "os/process.h"

namespace lamina::cli {
namespace {

constexpr const char* kServeFooter =
    "Firecracker connects to the socket when it loads a snapshot with a Uffd back\n"
    "end. To serve several snapshots, give as many --socket, in the same order.\n\n"
    "--store DIR serves all VMs of a store from one socket,\n"
    "DIR/.vms/page-server.sock. Each VM is served what it was resumed from, also if\n"
    "the snapshot of that name is replaced or removed. A store's sockets have fixed\n"
    "places, and its pins decide which VMs may connect: --socket, --metrics and\n"
    "--allow-uid are for SNAPSHOTs only.\n\n"
    "A child process serves. If it is killed or crashes, another takes its place at\n"
    "once. If all processes are killed, the next start takes over the running VMs.\n"
    "SIGTERM: fill the memory of the running VMs, so that they need no page server,\n"
    "then exit; a second one exits at once. SIGHUP: reopen the log (standard error,\n"
    "if it is a file), and replace this process with the program that is on the disk\n"
    "now, if that can serve all VMs.\n\n"
    "The default of --state-dir is /run/lamina (root), else $XDG_RUNTIME_DIR/lamina,\n"
    "else /dev/shm/lamina-UID.\n\n"
    "Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 corrupt, 5 busy,\n"
    "6 no space.";

constexpr std::uint32_t kMaxMode = 0777;
constexpr std::uint32_t kMaxThreads = 256;

struct ServeArguments {
  ServeOptions options;
  std::vector<std::string> snapshots;
  std::vector<std::string> sockets;
  std::string mode;
  bool status = false;
};

/// This program's path and its arguments, to start it again.
std::vector<std::string> own_command() {
  const std::string program = os::own_program();
  std::ifstream file("/proc/self/cmdline", std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  std::vector<std::string> command;
  for (std::size_t start = 0; start < text.size();) {
    const std::size_t end = std::min(text.find('\0', start), text.size());
    command.push_back(text.substr(start, end - start));
    start = end + 1;
  }
  if (program.empty() || command.empty()) return {};
  command.front() = program;
  return command;
}

Result<std::uint32_t> parse_mode(const std::string& text) {
  constexpr int kOctal = 8;
  std::uint32_t mode = 0;
  const char* last = text.data() + text.size();
  const auto [end, error] = std::from_chars(text.data(), last, mode, kOctal);
  if (error != std::errc() || end != last || mode > kMaxMode) {
    return fail(ErrorKind::kUsage,
                "'{}' is not a mode for --socket-mode; give an octal one like 0660", text);
  }
  return mode;
}

/// The value of a metric, summed over its labels.
double value_of(const std::string& metrics, std::string_view name) {
  double sum = 0;
  std::istringstream lines(metrics);
  for (std::string line; std::getline(lines, line);) {
    const std::string_view text = line;
    const std::size_t space = text.rfind(' ');
    if (!text.starts_with(name) || space == std::string_view::npos) continue;
    if (text[name.size()] != ' ' && text[name.size()] != '{') continue;
    sum += std::strtod(line.c_str() + space, nullptr);
  }
  return sum;
}

int print_status(const ServeArguments& arguments) {
  const ServeOptions& options = arguments.options;
  if (options.metrics_socket.empty() == options.store.empty()) {
    return report_error(
        {ErrorKind::kUsage, "--status asks a running server; name its --metrics or its --store"},
        false);
  }
  const auto metrics = read_serve_metrics(
      options.store.empty() ? options.metrics_socket : page_server_metrics_socket(options.store));
  if (!metrics) return report_error(metrics.error(), false);
  const auto value = [&](std::string_view name) { return value_of(*metrics, name); };
  const auto bytes = [&](std::string_view name) {
    return human_bytes(static_cast<std::uint64_t>(value(name)));
  };
  constexpr double kMicrosecondsPerSecond = 1e6;
  const double faults = value("lamina_fault_seconds_count");
  const double mean =
      faults > 0 ? value("lamina_fault_seconds_sum") / faults * kMicrosecondsPerSecond : 0;
  print_text("process       {:.0f} (receives signals)\n", value("lamina_supervisor_pid"));
  print_text("VMs           {:.0f} served now, {:.0f} in all\n", value("lamina_sessions"),
             value("lamina_sessions_started_total"));
  print_text("faults        {:.0f}, {:.1f} us each from event to page\n", faults, mean);
  print_text("filled        {} of data, {} of zeros\n",
             bytes("lamina_filled_bytes_total{kind=\"data\"}"),
             bytes("lamina_filled_bytes_total{kind=\"zero\"}"));
  print_text("populated     {} without a fault\n", bytes("lamina_populated_bytes_total"));
  print_text("given back    {:.0f} ranges\n", value("lamina_removes_total"));
  print_text("problems      {:.0f} reads repeated, {:.0f} VMs killed, {:.0f} peers refused\n",
             value("lamina_read_retries_total"), value("lamina_vms_killed_total"),
             value("lamina_peers_refused_total"));
  print_text("takeover      {:.0f} serving processes replaced, {:.0f} VMs taken over\n",
             value("lamina_worker_restarts_total"), value("lamina_vms_reacquired_total"));
  return kExitDone;
}

/// Logs one line to stderr. Drops it if the write would block: a full pipe must not delay VMs.
void log_line(const std::string& line) {
  pollfd waiting{STDERR_FILENO, POLLOUT, 0};
  if (::poll(&waiting, 1, 0) > 0 && (waiting.revents & POLLOUT) != 0)
    print_message(with_arguments(line));
}

int run(ServeArguments& arguments) {
  if (arguments.status) {
    os::unblock_signals();
    return print_status(arguments);
  }
  ServeOptions& options = arguments.options;
  if (!options.store.empty()) {
    if (!arguments.sockets.empty()) {
      return report_error(
          {ErrorKind::kUsage,
           fmt::format("'{}' is given for --socket; the VMs of store '{}' connect to '{}'",
                       arguments.sockets.front(), options.store,
                       page_server_socket(options.store))},
          false);
    }
  } else if (arguments.snapshots.empty()) {
    return report_error(
        {ErrorKind::kUsage,
         "nothing is named to serve; name a store with --store, or SNAPSHOTs with a --socket each"},
        false);
  } else if (arguments.snapshots.size() != arguments.sockets.size()) {
    return report_error(
        {ErrorKind::kUsage, fmt::format("{} for {}; give each SNAPSHOT a --socket",
                                        count_of(arguments.sockets.size(), "--socket"),
                                        count_of(arguments.snapshots.size(), "SNAPSHOT"))},
        false);
  }
  for (std::size_t i = 0; i < arguments.snapshots.size(); ++i) {
    options.endpoints.push_back(
        {arguments.snapshots[i], i < arguments.sockets.size() ? arguments.sockets[i] : ""});
  }
  if (!arguments.mode.empty()) {
    const auto mode = parse_mode(arguments.mode);
    if (!mode) return report_error(mode.error(), false);
    options.socket_mode = *mode;
  }
  os::begin_service();
  ::umask(S_IRWXG | S_IRWXO);
  options.restart_command = own_command();
  leave_working_directory(options, options.restart_command);
  options.log = log_line;
  const Status served = serve(options);
  return served ? kExitDone : report_error(served.error(), false);
}

}  // namespace

Action add_serve(CLI::App& app) {
  auto arguments = std::make_shared<ServeArguments>();
  ServeOptions& options = arguments->options;
  CLI::App* verb = add_verb(app, "serve", "serve memory by page faults", kServeFooter);
  verb->add_option("SNAPSHOT", arguments->snapshots, "what to serve")->type_name("");
  add_text(verb, "--store", options.store, "serve all VMs of a store instead", "DIR");
  verb->add_option("--socket", arguments->sockets, "socket of a SNAPSHOT, for Firecracker")
      ->allow_extra_args(false)
      ->type_name("")
      ->option_text("PATH");
  add_choice(verb, "--populate", options.populate, "fill without a fault (default none)");
  verb->add_flag("--record", options.record, "record working sets: what VMs touch first");
  verb->add_flag("--once", options.once, "end when the first VM has ended");
  verb->add_option("--workers", options.threads, "serving threads (default: CPUs, at most 4)")
      ->check(CLI::Range(std::uint32_t{1}, kMaxThreads))
      ->type_name("")
      ->option_text("N");
  add_text(verb, "--socket-mode", arguments->mode, "mode of sockets (default 0600, a store's 0666)",
           "MODE");
  add_text(verb, "--socket-group", options.socket_group, "group of the sockets", "GROUP");
  verb->add_option("--allow-uid", options.allowed_users, "another user whose VMs may connect")
      ->allow_extra_args(false)
      ->type_name("")
      ->option_text("UID");
  add_text(verb, "--state-dir", options.state_dir, "state of the VMs, on tmpfs; see below", "DIR");
  add_text(verb, "--metrics", options.metrics_socket, "socket for metrics", "PATH");
  verb->add_flag("--status", arguments->status, "show the metrics of a running server");
  return [arguments] { return run(*arguments); };
}

}  // namespace lamina::cli
