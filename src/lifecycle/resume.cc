// Resuming a VM from a store:
//
//   open      the snapshot, checked as far as it will be served
//   claim     the VM's process, the store, the pin         claimed_vm.h
//   pin       the snapshot becomes the pin's base
//   choose    page faults or a file                        resume_mode.h
//   provide   state and memory, where Firecracker looks    loadable_state.h
//   load      Firecracker loads it; the VM runs
//
// The pin is on the disk before Firecracker is asked: from then on whatever happens to the
// snapshot's name, the VM, its page server and its next diff go by the pin.
#include <memory>
#include <optional>
#include <utility>

#include "base/contain.h"
#include "base/error.h"
#include "base/stopwatch.h"
#include "lamina/lifecycle.h"
#include "lifecycle/arriving_base.h"
#include "lifecycle/claimed_vm.h"
#include "lifecycle/cloud_hypervisor.h"
#include "lifecycle/interruption.h"
#include "lifecycle/last_create.h"
#include "lifecycle/loadable_state.h"
#include "lifecycle/page_server_process.h"
#include "lifecycle/resume_mode.h"
#include "lifecycle/vm.h"
#include "os/directory.h"
#include "os/process.h"
#include "store/name.h"
#include "store/pin.h"
#include "store/resume_count.h"
#include "store/snapshot_directory.h"
#include "vmm/firecracker/version.h"

namespace lamina {
namespace {

using namespace lifecycle;  // NOLINT(google-build-using-namespace): this file is its entrance
using store::OpenSnapshot;

/// What a page server will read is read and checked once, at the beginning: what cannot be served
/// is to be found out before anything is loaded, since a load that fails costs the process.
engine::Checksums checksums_to_load(ResumeMode mode, bool is_arriving) {
  if (is_arriving) return engine::Checksums::kInFile;
  return mode == ResumeMode::kFile ? engine::Checksums::kSkip : engine::Checksums::kLoad;
}

Result<OpenSnapshot> open_to_resume(const ResumeSource& source, ResumeMode mode) {
  const std::string& path = source.path;
  if (source.is_arriving && mode == ResumeMode::kFile) {
    return with_remedy(
        fail(ErrorKind::kBusy, "the memory of '{}' is still arriving, so no file can be made of it",
             path),
        "resume with `mode=uffd`, or run `lamina remote pull` first");
  }
  LAMINA_ASSIGN_OR_RETURN(OpenSnapshot snapshot,
                          store::open_snapshot(path, checksums_to_load(mode, source.is_arriving)));
  if (!snapshot.vmstate_file && snapshot.vmstate_file.error().kind == ErrorKind::kNotFound) {
    return fail(ErrorKind::kFailed,
                "snapshot '{}' has no VM state ({}), so no VM can go on from it", path,
                store::kVmstateName);
  }
  LAMINA_RETURN_IF_ERROR(store::check_vmstate(snapshot));
  LAMINA_RETURN_IF_ERROR(check_is_firecrackers(snapshot));
  return snapshot;
}

/// What this Firecracker cannot do is refused before anything is made for it.
Status check_features(const std::string& version, const ResumeOptions& options) {
  using vmm::Feature;
  LAMINA_RETURN_IF_ERROR(vmm::require_supported(version));
  const auto require = [&](bool asked_for, Feature feature, const char* what,
                           const char* option) -> Status {
    return asked_for ? vmm::require_feature(version, feature, what, option) : Status{};
  };
  LAMINA_RETURN_IF_ERROR(require(!options.network_overrides.empty(), Feature::kNetworkOverrides,
                                 "another network device", "network_override"));
  LAMINA_RETURN_IF_ERROR(require(!options.vsock_override.empty(), Feature::kVsockOverride,
                                 "another vsock path", "vsock_override"));
  LAMINA_RETURN_IF_ERROR(require(options.clock_realtime, Feature::kClockRealtime,
                                 "a clock that is moved on", "clock_realtime"));
  return require(options.huge_pages != HugePages::kAsBefore, Feature::kLoadHugePages, "other pages",
                 "huge_pages");
}

vmm::LoadRequest load_request(const LoadableState& state, const OpenSnapshot& snapshot,
                              const std::string& version, const ResumeOptions& options) {
  vmm::LoadRequest request;
  request.state_path = state.vmstate;
  request.backend =
      state.mode == ResumeMode::kFile ? vmm::MemoryBackend::kFile : vmm::MemoryBackend::kUffd;
  request.backend_path = state.backend;
  for (const NetworkOverride& override : options.network_overrides) {
    request.network_overrides.push_back({override.interface_id, override.host_device});
  }
  if (!options.vsock_override.empty()) request.vsock_path = options.vsock_override;
  request.is_before_1_13 = !vmm::has_feature(version, vmm::Feature::kTrackDirtyPages);
  request.clock_realtime = options.clock_realtime;
  if (options.huge_pages != HugePages::kAsBefore) {
    request.huge_pages = pages_after_load(snapshot, options);
  }
  return request;
}

/// What helps against a load that was refused, where it is known. Firecracker gives a text only.
Error with_advice(Error error, pid_t process) {
  if (error.message.contains("hugetlbfs")) {
    error.remedy =
        "resume with `mode=uffd` (a snapshot ingested with huge_pages=2M is always resumed so)";
  } else if (error.message.contains("boot-specific resources")) {
    // After all other loads that it refuses Firecracker ends.
    error.message += fmt::format("; process {} was configured to boot a VM, and goes on", process);
    error.remedy = "start another Firecracker for the resume";
  }
  return error;
}

class Resume {
 public:
  explicit Resume(const ResumeOptions& options)
      : options_(options), interruption_(options.progress) {}

  Result<ResumeReport> run() { return report_or_error(work(), report_); }

 private:
  Status work() {
    LAMINA_ASSIGN_OR_RETURN(const store::SnapshotPath source,
                            store::snapshot_in(options_.store, options_.name));
    report_.snapshot = source.path;
    LAMINA_ASSIGN_OR_RETURN(source_, find_to_resume(source, report_.notes));
    if (source_.is_arriving && options_.mode == ResumeMode::kAuto) {
      options_.mode = ResumeMode::kPageFaults;
    }
    LAMINA_ASSIGN_OR_RETURN(OpenSnapshot snapshot, open_to_resume(source_, options_.mode));
    LAMINA_ASSIGN_OR_RETURN(ClaimedVm claimed,
                            claim_vm(options_.vmm, options_.store, &interruption_, report_.notes));
    report_.pid = claimed.vmm.pid();
    // Only now, when no other command can resume into the same process.
    const auto version = check_possible(claimed, snapshot);
    if (!version) release_unused_pin(claimed.pin);
    LAMINA_RETURN_IF_ERROR(version);
    const Status resumed = resume_claimed(claimed, snapshot, *version);
    if (resumed) return {};
    return clean_up(claimed, resumed.error());
  }

  /// Firecracker's version.
  Result<std::string> check_possible(ClaimedVm& claimed, const OpenSnapshot& snapshot) {
    LAMINA_RETURN_IF_ERROR(lock_vm(claimed.vmm));
    LAMINA_ASSIGN_OR_RETURN(const vmm::InstanceInfo instance, claimed.vmm.describe());
    if (instance.state != vmm::VmState::kNotStarted) {
      return fail(ErrorKind::kFailed,
                  "the Firecracker at '{}' has a VM already; a snapshot is loaded into one that "
                  "was just started",
                  options_.vmm.api_socket);
    }
    LAMINA_RETURN_IF_ERROR(check_features(instance.version, options_));
    compare_origins(snapshot, instance.version);
    return instance.version;
  }

  void compare_origins(const OpenSnapshot& snapshot, const std::string& version) {
    if (!snapshot.facts) return;
    for (std::string& note :
         differences(snapshot.facts->origin, origin_here(version), "Firecracker")) {
      report_.notes.push_back(std::move(note));
    }
  }

  Status resume_claimed(ClaimedVm& claimed, OpenSnapshot& snapshot, const std::string& version) {
    LAMINA_RETURN_IF_ERROR(set_base(claimed.pin, snapshot));
    source_.lock.reset();
    report_.pause_id = snapshot.pause_id;
    LAMINA_ASSIGN_OR_RETURN(const ResumeModeChoice choice,
                            choose_resume_mode(claimed, snapshot, version, options_));
    LAMINA_RETURN_IF_ERROR(record_resume(claimed, snapshot, choice.mode, options_));
    report_.pin_ms = watch_.lap();
    LAMINA_ASSIGN_OR_RETURN(const LoadableState state,
                            provide_state(claimed, snapshot, choice, options_));
    report_.mode = state.mode;
    report_.reason = state.reason;
    report_.started_page_server = state.started_page_server;
    report_.prepare_ms = watch_.lap();
    if (interruption_.interrupted()) return fail(ErrorKind::kInterrupted, "interrupted");
    interruption_.ignore();
    LAMINA_RETURN_IF_ERROR(
        load(claimed, snapshot.pause_id, load_request(state, snapshot, version, options_)));
    report_.load_ms = watch_.lap();
    // Before the VM runs: its dirty bits count from what is pinned, and from nothing before it.
    store::PinFacts facts = *claimed.pin.facts();
    facts.needs_full = false;
    LAMINA_RETURN_IF_ERROR(claimed.pin.write_facts(facts));
    if (!options_.stay_paused) LAMINA_RETURN_IF_ERROR(claimed.vmm.resume().status());
    report_.resume_ms = watch_.lap();
    const Status counted = store::count_resume(*claimed.store, snapshot.pause_id);
    if (!counted) report_.notes.push_back(one_line(counted.error()));
    return {};
  }

  Status set_base(store::Pin& pin, OpenSnapshot& snapshot) const {
    const os::FileFacts before = snapshot.directory_facts;
    LAMINA_RETURN_IF_ERROR(
        store::retry_if_replaced(snapshot, [&] { return pin.set_base(snapshot); }));
    if (options_.mode == ResumeMode::kFile || snapshot.directory_facts.same_file(before)) return {};
    // A merge has replaced it meanwhile, and what came in its place was opened without checksums.
    LAMINA_RETURN_IF_ERROR(store::open_snapshot(pin.base_path(), engine::Checksums::kLoad));
    return {};
  }

  Status load(ClaimedVm& claimed, const Uuid& pause_id, const vmm::LoadRequest& request) {
    std::unique_ptr<PageServerWatch> watch;
    if (request.backend == vmm::MemoryBackend::kUffd) {
      LAMINA_ASSIGN_OR_RETURN(watch,
                              PageServerWatch::start(*claimed.store, options_.page_server_command));
    }
    LAMINA_ASSIGN_OR_RETURN(LastCreate last_create, LastCreate::of(claimed.vmm));
    LAMINA_RETURN_IF_ERROR(last_create.ask(pause_id));
    const vmm::Reply reply = claimed.vmm.load(request);
    // A load that was refused was not ours, whatever VM is there.
    may_be_loaded_ = reply.outcome() != vmm::Outcome::kRefused;
    if (reply.status()) return {};
    return std::unexpected(with_advice(reply.status().error(), claimed.vmm.pid()));
  }

  /// A Firecracker that could not load ends by itself. What may have been loaded keeps its pin.
  Status clean_up(ClaimedVm& claimed, Error cause) const {
    if (may_be_loaded_ && !os::has_ended(claimed.vmm.pidfd())) {
      cause.message += fmt::format("; process {} may have loaded it, so what it needs is kept",
                                   claimed.vmm.pid());
      return std::unexpected(std::move(cause));
    }
    const Status released = release_pin(claimed.pin);
    if (!released) cause.message += "; " + one_line(released.error());
    return std::unexpected(std::move(cause));
  }

  ResumeOptions options_;
  ResumeSource source_;
  Interruption interruption_;
  ResumeReport report_;
  Stopwatch watch_;
  bool may_be_loaded_ = false;
};

}  // namespace

Result<ResumeReport> resume(const ResumeOptions& options) {
  return contain("resume", [&] {
    if (runs_cloud_hypervisor(options.vmm, options.progress)) {
      return resume_cloud_hypervisor(options);
    }
    return Resume(options).run();
  });
}

}  // namespace lamina
