// Resuming a VM from a store:
//
//   claim     the VM's process, the store, the pin         claimed_vm.h
//   open      the snapshot, checked as far as it will be served
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
#include <variant>

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
#include "lifecycle/only_resume.h"
#include "lifecycle/page_server_process.h"
#include "lifecycle/resume_from.h"
#include "lifecycle/resume_mode.h"
#include "lifecycle/vm.h"
#include "os/directory.h"
#include "os/process.h"
#include "store/name.h"
#include "store/pin.h"
#include "store/resume_count.h"
#include "store/snapshot_directory.h"
#include "vmm/firecracker/clone_metadata.h"
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

/// Paths that only Cloud Hypervisor can be told at a load.
Status check_has_no_paths(const ResumeOptions& options) {
  const auto refuse = [](bool asked_for, const char* what, const char* option) -> Status {
    if (!asked_for) return {};
    return with_remedy(
        fail(ErrorKind::kUnsupported, "Firecracker cannot change the path of {} at a load", what),
        "leave out `{}`, and give each VM its own file under the same path (a jail, or a mount "
        "namespace)",
        option);
  };
  LAMINA_RETURN_IF_ERROR(refuse(!options.drive_overrides.empty(), "a drive", "drive_override"));
  LAMINA_RETURN_IF_ERROR(
      refuse(!options.serial_override.empty(), "the serial console", "serial_override"));
  return refuse(!options.console_override.empty(), "the console", "console_override");
}

/// What this Firecracker cannot do is refused before anything is made for it.
Status check_features(const std::string& version, const ResumeOptions& options) {
  using vmm::Feature;
  LAMINA_RETURN_IF_ERROR(vmm::require_supported(version));
  LAMINA_RETURN_IF_ERROR(check_has_no_paths(options));
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
  /// `source` absent: what the name in the options is.
  Resume(std::optional<ResumeSource> source, const ResumeOptions& options)
      : source_(source ? std::move(*source) : ResumeSource()),
        has_source_(source.has_value()),
        options_(options),
        interruption_(options.progress) {}

  Result<ResumeReport> run() {
    Result<ResumeReport> report = report_or_error(work(), report_);
    tell_pinned();
    if (of_other_) return std::move(*of_other_);
    return report;
  }

 private:
  Status work() {
    LAMINA_ASSIGN_OR_RETURN(const store::SnapshotPath named,
                            store::snapshot_in(options_.store, options_.name));
    report_.snapshot = named.path;
    report_.resume_id = Uuid::random();
    auto any = claim_vm(options_.vmm, options_.store, &interruption_, report_.notes);
    if (!any) return std::unexpected(why_not_claimed(std::move(any.error()), named));
    if (auto* other = std::get_if<ClaimedCloudHypervisor>(&*any)) return hand_on(std::move(*other));
    auto& claimed = std::get<ClaimedVm>(*any);
    report_.pid = claimed.vmm.pid();
    auto snapshot = open_source(named);
    // Only now, when no other command can resume into the same process.
    const auto version = snapshot ? check_possible(claimed, *snapshot)
                                  : Result<std::string>(std::unexpected(snapshot.error()));
    if (!version) release_unused_pin(claimed.pin);
    LAMINA_RETURN_IF_ERROR(version);
    const Status resumed = resume_claimed(claimed, *snapshot, *version);
    if (resumed) return {};
    return clean_up(claimed, resumed.error());
  }

  /// If nothing listens, a snapshot that cannot be resumed anyway is what is to be said. That it is
  /// another VMM's (kUnsupported) is not known then.
  Error why_not_claimed(Error error, const store::SnapshotPath& named) {
    if (error.kind != ErrorKind::kNotFound) return error;
    auto snapshot = open_source(named);
    if (snapshot || snapshot.error().kind == ErrorKind::kUnsupported) return error;
    return std::move(snapshot.error());
  }

  /// The rest of a resume into another VMM.
  Status hand_on(ClaimedCloudHypervisor claimed) {
    if (source_.is_arriving) {
      release_unused_pin(claimed.pin);
      return fail(ErrorKind::kUnsupported,
                  "'{}' is a Cloud Hypervisor's, which only resumes from memory that is all here",
                  options_.vmm.api_socket);
    }
    const ResumeSource source{
        .path = source_.path, .in_flight = source_.in_flight, .pinned = [this] { tell_pinned(); }};
    of_other_ =
        resume_cloud_hypervisor(options_, has_source_ ? &source : nullptr, std::move(claimed),
                                interruption_, std::move(report_.notes));
    return {};
  }

  Result<OpenSnapshot> open_source(const store::SnapshotPath& named) {
    if (!has_source_) {
      LAMINA_ASSIGN_OR_RETURN(source_, find_to_resume(named, report_.notes));
    }
    if (source_.is_arriving && options_.mode == ResumeMode::kAuto) {
      options_.mode = ResumeMode::kPageFaults;
    }
    if (!options_.mmds.empty()) {
      LAMINA_ASSIGN_OR_RETURN(mmds_, vmm::read_mmds(options_.mmds));
    }
    return open_to_resume(source_, options_.mode);
  }

  /// Firecracker's version.
  Result<std::string> check_possible(ClaimedVm& claimed, const OpenSnapshot& snapshot) {
    LAMINA_ASSIGN_OR_RETURN(const vmm::InstanceInfo instance, claimed.vmm.describe());
    if (instance.state != vmm::VmState::kNotStarted) {
      return fail(ErrorKind::kFailed,
                  "the Firecracker at '{}' has a VM already; a snapshot is loaded into one that "
                  "was just started",
                  options_.vmm.api_socket);
    }
    LAMINA_RETURN_IF_ERROR(check_features(instance.version, options_));
    report_.generation_device = vmm::generation_device(instance.version);
    LAMINA_RETURN_IF_ERROR(once_.check(*claimed.store, snapshot.pause_id, report_.snapshot));
    compare_origins(snapshot, instance.version);
    return instance.version;
  }

  void tell_pinned() {
    if (source_.pinned && !is_pinned_) source_.pinned();
    is_pinned_ = true;
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
    // Not before: the directory has none, and what is there is linked.
    if (source_.in_flight) snapshot.facts = source_.in_flight;
    report_.pause_id = snapshot.pause_id;
    LAMINA_ASSIGN_OR_RETURN(const ResumeModeChoice choice,
                            choose_resume_mode(claimed, snapshot, version, options_));
    LAMINA_RETURN_IF_ERROR(
        record_resume(claimed, snapshot, choice.mode, options_, source_.in_flight.has_value()));
    tell_pinned();
    report_.pin_ms = watch_.lap();
    LAMINA_ASSIGN_OR_RETURN(const LoadableState state,
                            provide_state(claimed, snapshot, choice, options_));
    report_.mode = state.mode;
    report_.reason = state.reason;
    report_.started_page_server = state.started_page_server;
    report_.prepare_ms = watch_.lap();
    if (interruption_.interrupted()) return fail(ErrorKind::kInterrupted, "interrupted");
    interruption_.ignore();
    LAMINA_RETURN_IF_ERROR(once_.consume(*claimed.store, snapshot, claimed.pin.name()));
    LAMINA_RETURN_IF_ERROR(
        load(claimed, snapshot.pause_id, load_request(state, snapshot, version, options_)));
    report_.load_ms = watch_.lap();
    // Before the VM runs: its dirty bits count from what is pinned, and from nothing before it.
    store::PinFacts facts = *claimed.pin.facts();
    facts.needs_full = false;
    LAMINA_RETURN_IF_ERROR(claimed.pin.write_facts(facts));
    LAMINA_RETURN_IF_ERROR(identify(claimed, snapshot.pause_id));
    if (!options_.stay_paused) {
      may_have_run_ = true;
      LAMINA_RETURN_IF_ERROR(claimed.vmm.resume().status());
    }
    report_.resume_ms = watch_.lap();
    return {};
  }

  /// Gives the VM its number, and its metadata before it runs.
  Status identify(ClaimedVm& claimed, const Uuid& pause_id) {
    const auto number = store::count_resume(*claimed.store, pause_id);
    if (number) {
      report_.clone_number = *number;
    } else {
      report_.notes.push_back(one_line(number.error()));
    }
    if (!mmds_) return {};
    if (!number) return std::unexpected(number.error());
    LAMINA_ASSIGN_OR_RETURN(
        const std::string contents,
        vmm::mmds_for(*mmds_, {report_.resume_id, *number, pause_id, options_.name}));
    const Status put = claimed.vmm.put_mmds(contents).status();
    if (put) return {};
    return with_remedy(std::unexpected(put.error()),
                       "metadata needs a VM that was configured with MMDS when it was started");
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
                              PageServerWatch::start(*claimed.store, options_.page_server_command,
                                                     claimed.vmm.timeouts().request));
    }
    LAMINA_ASSIGN_OR_RETURN(LastCreate last_create, LastCreate::of(claimed.vmm));
    LAMINA_RETURN_IF_ERROR(last_create.ask(pause_id));
    const vmm::Reply reply = claimed.vmm.load(request);
    // A load that was refused was not ours, whatever VM is there.
    may_be_loaded_ = reply.outcome() != vmm::Outcome::kRefused;
    is_loaded_ = reply.outcome() == vmm::Outcome::kAcknowledged;
    if (reply.status()) return {};
    return std::unexpected(with_advice(reply.status().error(), claimed.vmm.pid()));
  }

  /// A Firecracker that could not load ends by itself. What may have been loaded keeps its pin.
  Status clean_up(ClaimedVm& claimed, Error cause) const {
    // A VM that was loaded and has not run is of no use to anybody.
    if (is_loaded_ && !may_have_run_) {
      static_cast<void>(os::kill_process(claimed.vmm.pidfd()));
      static_cast<void>(os::wait_for_end(claimed.vmm.pidfd(), claimed.vmm.timeouts().request));
      cause.message += fmt::format("; process {} was killed before its VM ran", claimed.vmm.pid());
    }
    give_back(claimed, cause);
    if (may_be_loaded_ && !os::has_ended(claimed.vmm.pidfd())) {
      cause.message += fmt::format("; process {} may have loaded it, so what it needs is kept",
                                   claimed.vmm.pid());
      return std::unexpected(std::move(cause));
    }
    const Status released = release_pin(claimed.pin);
    if (!released) cause.message += "; " + one_line(released.error());
    return std::unexpected(std::move(cause));
  }

  /// The only resume was none if it is certain that the guest has not run: then it is given back.
  void give_back(const ClaimedVm& claimed, Error& cause) const {
    if (may_have_run_ || (may_be_loaded_ && !os::has_ended(claimed.vmm.pidfd()))) return;
    once_.give_back(*claimed.store, report_.pause_id, cause);
  }

  ResumeSource source_;
  bool has_source_;  ///< at the beginning
  ResumeOptions options_;
  OnlyResume once_{options_.again};
  Interruption interruption_;
  ResumeReport report_;
  std::optional<Result<ResumeReport>> of_other_;  ///< into another VMM
  Stopwatch watch_;
  std::optional<std::string> mmds_;  ///< contents
  bool is_pinned_ = false;
  bool may_be_loaded_ = false;
  bool is_loaded_ = false;
  bool may_have_run_ = false;  ///< was told to
};

}  // namespace

Result<ResumeReport> lifecycle::resume_from(ResumeSource source, const ResumeOptions& options) {
  return contain("resume", [&] { return Resume(std::move(source), options).run(); });
}

Result<ResumeReport> resume(const ResumeOptions& options) {
  return contain("resume", [&] { return Resume(std::nullopt, options).run(); });
}

}  // namespace lamina
