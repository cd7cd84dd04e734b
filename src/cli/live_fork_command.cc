// lamina fork-live, which 'lamina fork --live' runs too.
#include <fmt/format.h>

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "cli/command_line.h"
#include "cli/lifecycle_requests.h"
#include "cli/option_adder.h"
#include "cli/output.h"
#include "cli/progress_bar.h"
#include "cli/store_daemon.h"
#include "lamina/live_fork.h"
#include "schema/report_json.h"
#include "schema/requests.h"

namespace lamina::cli {
namespace {

constexpr const char* kLiveForkFooter =
    "Takes a checkpoint of the VM, which runs on, and resumes clones from it as soon\n"
    "as its files can be read, before they are on the disk. The command ends when\n"
    "the snapshot NAME is on the disk and all clones run. A clone that is paused\n"
    "before that takes a full memory file. A clone that fails does not fail the\n"
    "others. Clones have the same memory: see lifecycle.md, Clones.\n\n"
    "The source runs on, so clones of Cloud Hypervisor VMs need other disks,\n"
    "consoles and sockets. An --...-override is given once for each CLONE, in their\n"
    "order (of drives and interfaces: once for each DRIVE or IFACE and CLONE). The\n"
    "hook runs while the VM is frozen, and can copy its disks. If it fails, no clone\n"
    "is begun.\n\n"
    "'lamina fork --live' is the same command. If a daemon keeps the store, it makes\n"
    "the fork, unless there is a hook.\n\n"
    "Exit codes: 0 done, 1 failed or a clone has failed, 2 usage, 3 not found,\n"
    "4 corrupt, 5 busy, 6 no space, 130 interrupted.";

struct LiveForkArguments {
  LiveForkOptions options;
  std::vector<std::string> clones;
  /// What the options of that name were given, in order.
  ResumeOptions given;
  std::vector<std::string> vsocks;
  std::vector<std::string> serials;
  std::vector<std::string> consoles;
  bool no_daemon = false;
  bool json = false;
};

/// Gives the values to the clones, the first to the first. kUsage if it is another number.
Status deal(const std::vector<std::string>& values, std::string CloneDevices::* place,
            const char* option, std::vector<CloneDevices>& devices) {
  if (values.empty()) return {};
  if (values.size() != devices.size()) {
    return fail(ErrorKind::kUsage, "{} is given {} times for {} clones", option, values.size(),
                devices.size());
  }
  for (std::size_t i = 0; i < values.size(); ++i) devices[i].*place = values[i];
  return {};
}

/// The same of values with ids: the first of each id is the first clone's.
template <typename Override>
Status deal_by_id(const std::vector<Override>& values, std::string Override::* id,
                  std::vector<Override> CloneDevices::* place, const char* option,
                  std::vector<CloneDevices>& devices) {
  std::map<std::string, std::size_t> counts;
  for (const Override& value : values) {
    const std::size_t number = counts[value.*id]++;
    if (number < devices.size()) (devices[number].*place).push_back(value);
  }
  for (const auto& [name, count] : counts) {
    if (count == devices.size()) continue;
    return fail(ErrorKind::kUsage, "{} of '{}' is given {} times for {} clones", option, name,
                count, devices.size());
  }
  return {};
}

/// What each clone has of its own; empty if nothing is given.
Result<std::vector<CloneDevices>> devices_of_clones(const LiveForkArguments& arguments) {
  const ResumeOptions& given = arguments.given;
  if (given.network_overrides.empty() && given.drive_overrides.empty() &&
      arguments.vsocks.empty() && arguments.serials.empty() && arguments.consoles.empty()) {
    return std::vector<CloneDevices>();
  }
  std::vector<CloneDevices> devices(arguments.clones.size());
  LAMINA_RETURN_IF_ERROR(deal_by_id(given.network_overrides, &NetworkOverride::interface_id,
                                    &CloneDevices::network_overrides, "--network-override",
                                    devices));
  LAMINA_RETURN_IF_ERROR(deal_by_id(given.drive_overrides, &DriveOverride::drive_id,
                                    &CloneDevices::drive_overrides, "--drive-override", devices));
  LAMINA_RETURN_IF_ERROR(
      deal(arguments.vsocks, &CloneDevices::vsock_override, "--vsock-override", devices));
  LAMINA_RETURN_IF_ERROR(
      deal(arguments.serials, &CloneDevices::serial_override, "--serial-override", devices));
  LAMINA_RETURN_IF_ERROR(
      deal(arguments.consoles, &CloneDevices::console_override, "--console-override", devices));
  return devices;
}

void print_live_fork(const LiveForkReport& report) {
  print_text("{}: {} of {}, frozen {:.1f} ms, on the disk after {:.1f}\n", report.pause.snapshot,
             report.pause.is_diff ? "diff" : "full", human_bytes(report.pause.memory_bytes),
             report.pause.phases.frozen_ms, report.durable_ms);
  for (const LiveClone& clone : report.clones) {
    if (!clone.resumed) continue;
    print_text("  {}: process {} runs after {:.1f} ms, by {}\n", clone.api_socket,
               clone.resumed->pid, clone.ready_ms,
               clone.resumed->mode == ResumeMode::kFile ? "file" : "page faults");
  }
}

int run_live_fork(LiveForkArguments& arguments) {
  LiveForkOptions& options = arguments.options;
  ProgressBar progress;
  options.pause.progress = &progress;
  options.pause.page_server_command = page_server_command(options.pause.store);
  options.resume.page_server_command = options.pause.page_server_command;
  for (const std::string& socket : arguments.clones) {
    VmmAddress address;
    address.api_socket = socket;
    address.timeouts = options.pause.vmm.timeouts;
    options.clones.push_back(std::move(address));
  }
  auto devices = devices_of_clones(arguments);
  if (!devices) return report_error(devices.error(), arguments.json);
  options.devices = std::move(*devices);
  const auto reply = request_live_fork(options, arguments.no_daemon, progress);
  const auto report = reply ? *reply : live_fork(options);
  progress.clear();
  if (!report) return report_error(report.error(), arguments.json);
  print_notes(report->pause.notes);
  print_notes(report->notes);
  int code = kExitDone;
  for (const LiveClone& clone : report->clones) {
    if (clone.resumed) {
      print_notes(clone.resumed->notes);
      continue;
    }
    print_message(fmt::format("clone '{}': {}", clone.api_socket, one_line(clone.resumed.error())));
    code = kExitFailed;
  }
  if (arguments.json) {
    print_json(schema::to_json(schema::answer_of(*report)));
  } else {
    print_live_fork(*report);
  }
  return code;
}

void add_repeated(CLI::App* verb, const std::string& name, std::vector<std::string>& values,
                  const std::string& description) {
  add_texts(verb, name, values, description)->allow_extra_args(false)->option_text("PATH");
}

}  // namespace

Action add_live_fork(CLI::App& app) {
  auto arguments = std::make_shared<LiveForkArguments>();
  LiveForkOptions& options = arguments->options;
  options.pause.after = AfterPause::kResume;
  CLI::App* verb = add_verb(app, "fork-live", "clone a VM that runs on", kLiveForkFooter);
  add_text(verb, "--api", options.pause.vmm.api_socket, "API socket of the VM", "SOCKET")
      ->required();
  add_text(verb, "--jail", options.pause.vmm.jail, "its Firecracker's root", "DIR");
  add_text(verb, "--store", options.pause.store, "directory of the store", "DIR")->required();
  add_text(verb, "--name", options.pause.name, "of the checkpoint", "NAME")->required();
  verb->add_flag("--replace", options.pause.replace, "replace also a snapshot of another VM");
  add_text(verb, "--freeze-directory", options.pause.freeze_directory,
           "for the diff, on tmpfs, private", "DIR");
  add_choice(verb, "--mode", options.resume.mode, "how clones get their memory (default auto)");
  add_text(verb, "--mmds", options.resume.mmds, "metadata for each clone: a JSON object", "FILE");
  OptionAdder adder(verb);
  adder.text(
      {.name = "frozen_hook", .help = "command to run while the VM is frozen", .value = "CMD"},
      options.pause.frozen_hook);
  adder.seconds({.name = "hook_timeout", .help = "then the hook is killed"},
                options.pause.hook_timeout, schema::kTimeoutSeconds);
  adder.items({.name = "network_override", .help = "another host device", .value = "IFACE=DEV"},
              arguments->given.network_overrides, schema::kNetworkFormat);
  adder.items({.name = "drive_override", .help = "another file of a disk", .value = "DRIVE=PATH"},
              arguments->given.drive_overrides, schema::kDriveFormat);
  add_repeated(verb, "--vsock-override", arguments->vsocks, "another vsock path");
  add_repeated(verb, "--serial-override", arguments->serials, "another serial console");
  add_repeated(verb, "--console-override", arguments->consoles, "another console");
  verb->add_flag("--clock-realtime", options.resume.clock_realtime,
                 "move the clones' clocks on by the time passed");
  verb->add_flag("--stay-paused", options.resume.stay_paused, "load clones and leave them paused");
  add_texts(verb, "CLONE", arguments->clones, "API sockets of Firecrackers that become clones")
      ->required();
  add_no_daemon(verb, arguments->no_daemon);
  verb->add_flag("--json", arguments->json, "print the result as JSON");
  return [arguments] { return run_live_fork(*arguments); };
}

}  // namespace lamina::cli
