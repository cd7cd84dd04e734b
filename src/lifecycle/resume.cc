// Resuming a VM from a store: pin, provide the memory, load, run.
//
// The pin is on the disk before Firecracker is asked: from then on whatever happens to the
// snapshot's name, the VM, its page server and its next diff go by the pin.
#include <fcntl.h>

#include <memory>
#include <optional>
#include <utility>

#include "base/block.h"
#include "base/contain.h"
#include "base/error.h"
#include "lamina/lifecycle.h"
#include "lifecycle/finish.h"
#include "lifecycle/interruption.h"
#include "lifecycle/jail.h"
#include "lifecycle/last_create.h"
#include "lifecycle/maps.h"
#include "lifecycle/page_server_process.h"
#include "lifecycle/stopwatch.h"
#include "lifecycle/visibility.h"
#include "lifecycle/vm.h"
#include "os/clock.h"
#include "os/directory.h"
#include "os/machine.h"
#include "os/path_walk.h"
#include "os/process.h"
#include "os/range_copy.h"
#include "store/huge_pages.h"
#include "store/name.h"
#include "store/open_store.h"
#include "store/pin.h"
#include "store/resume_count.h"
#include "store/store.h"
#include "vmm/firecracker/client.h"
#include "vmm/firecracker/version.h"

namespace lamina {
namespace {

using store::OpenSnapshot;
using store::Pin;
using store::Store;
using vmm::Firecracker;

/// Above this, making a file of the memory takes longer than the first faults of a page server, and
/// the VM waits for all of it. Reading and checking runs at some GB/s; every run costs a clone
/// call.
constexpr double kMaxMaterializeMs = 50;
constexpr double kReadBytesPerMs = 4e6;
constexpr double kCloneMsPerRun = 0.02;
/// Firecracker puts no longer path into its connect(2).
constexpr std::size_t kMaxSocketPath = 107;

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
    LAMINA_ASSIGN_OR_RETURN(OpenSnapshot snapshot,
                            store::open_snapshot(source.path, checksums_to_load()));
    snapshot_.emplace(std::move(snapshot));
    if (!os::name_exists(snapshot_->directory.get(), store::kVmstateName)) {
      return fail(ErrorKind::kFailed,
                  "snapshot '{}' has no VM state ({}), so no VM can go on from it", source.path,
                  store::kVmstateName);
    }
    LAMINA_RETURN_IF_ERROR(store::check_vmstate(*snapshot_));
    LAMINA_ASSIGN_OR_RETURN(lifecycle::Jail jail, lifecycle::Jail::open(options_.vmm.jail));
    jail_.emplace(std::move(jail));
    LAMINA_ASSIGN_OR_RETURN(Firecracker firecracker,
                            lifecycle::reach(options_.vmm, &interruption_));
    vmm_.emplace(std::move(firecracker));
    report_.pid = vmm_->pid();
    LAMINA_ASSIGN_OR_RETURN(Store store, store::open_store(options_.store, report_.notes));
    store_.emplace(std::move(store));
    LAMINA_ASSIGN_OR_RETURN(Pin pin, Pin::claim(*store_, vmm_->pid(), vmm_->start_time()));
    pin_.emplace(std::move(pin));
    // Only now, when no other command can resume into the same process.
    const Status possible = check_possible();
    // A pin that nothing was put into is of no use.
    if (!possible && !pin_->facts() && !pin_->has_base()) static_cast<void>(pin_->release());
    LAMINA_RETURN_IF_ERROR(possible);
    const Status resumed = resume_claimed();
    if (resumed) return {};
    return clean_up(resumed.error());
  }

  /// What this Firecracker cannot do is refused before anything is made for it.
  Status check_possible() {
    LAMINA_RETURN_IF_ERROR(lifecycle::lock_vm(*vmm_));
    LAMINA_ASSIGN_OR_RETURN(const vmm::InstanceInfo instance, vmm_->describe());
    if (instance.state != vmm::VmState::kNotStarted) {
      return fail(
          ErrorKind::kFailed,
          "the Firecracker at '{}' has a VM already; a snapshot is loaded into one that was "
          "just started",
          options_.vmm.api_socket);
    }
    version_ = instance.version;
    LAMINA_RETURN_IF_ERROR(vmm::require_supported(version_));
    using vmm::Feature;
    const auto require = [&](bool asked_for, Feature feature, const char* what) -> Status {
      return asked_for ? vmm::require_feature(version_, feature, what) : Status{};
    };
    LAMINA_RETURN_IF_ERROR(require(!options_.network_overrides.empty(), Feature::kNetworkOverrides,
                                   "another network device (--network-override)"));
    LAMINA_RETURN_IF_ERROR(require(!options_.vsock_override.empty(), Feature::kVsockOverride,
                                   "another vsock path (--vsock-override)"));
    LAMINA_RETURN_IF_ERROR(require(options_.clock_realtime, Feature::kClockRealtime,
                                   "a clock that is moved on (--clock-realtime)"));
    LAMINA_RETURN_IF_ERROR(require(options_.huge_pages != HugePages::kAsBefore,
                                   Feature::kLoadHugePages, "other pages (--huge-pages)"));
    if (!jail_->is_apart()) {
      LAMINA_ASSIGN_OR_RETURN(const std::string store, os::real_path(store_->path()));
      LAMINA_RETURN_IF_ERROR(lifecycle::check_finds_store(vmm_->pid(), store));
    }
    compare_origins(version_);
    return {};
  }

  Status resume_claimed() {
    LAMINA_RETURN_IF_ERROR(set_base());
    report_.pause_id = snapshot_->pause_id;
    LAMINA_RETURN_IF_ERROR(choose_mode());
    LAMINA_RETURN_IF_ERROR(write_pin());
    report_.pin_ms = watch_.lap();
    LAMINA_RETURN_IF_ERROR(provide_memory());
    report_.prepare_ms = watch_.lap();
    if (interruption_.interrupted()) return fail(ErrorKind::kInterrupted, "interrupted");
    LAMINA_RETURN_IF_ERROR(load());
    report_.load_ms = watch_.lap();
    // Before the VM runs: its dirty bits count from what is pinned, and from nothing before it.
    store::PinFacts facts = *pin_->facts();
    facts.needs_full = false;
    LAMINA_RETURN_IF_ERROR(pin_->write_facts(facts));
    if (!options_.stay_paused) LAMINA_RETURN_IF_ERROR(vmm_->resume().status());
    report_.resume_ms = watch_.lap();
    const Status counted = store::count_resume(*store_, snapshot_->pause_id);
    if (!counted) report_.notes.push_back(counted.error().message);
    return {};
  }

  /// What a page server will read is read and checked once, at the beginning: what cannot be served
  /// is to be found out before anything is loaded, since a load that fails costs the process.
  [[nodiscard]] engine::Checksums checksums_to_load() const {
    return options_.mode == ResumeMode::kFile ? engine::Checksums::kSkip : engine::Checksums::kLoad;
  }

  Status set_base() {
    const os::FileFacts before = snapshot_->directory_facts;
    LAMINA_RETURN_IF_ERROR(
        store::use_while_replaced(*snapshot_, [this] { return pin_->set_base(*snapshot_); }));
    if (options_.mode == ResumeMode::kFile || snapshot_->directory_facts.same_file(before)) {
      return {};
    }
    // A merge has replaced it meanwhile, and what came in its place was opened without checksums.
    LAMINA_RETURN_IF_ERROR(store::open_snapshot(pin_->base_path(), engine::Checksums::kLoad));
    return {};
  }

  Status load() {
    vmm::LoadRequest request;
    request.state_path = vmstate_;
    request.backend =
        report_.mode == ResumeMode::kFile ? vmm::MemoryBackend::kFile : vmm::MemoryBackend::kUffd;
    request.backend_path = backend_;
    for (const NetworkOverride& override : options_.network_overrides) {
      request.network_overrides.push_back({override.interface_id, override.host_device});
    }
    if (!options_.vsock_override.empty()) request.vsock_path = options_.vsock_override;
    request.is_before_1_13 = !vmm::has_feature(version_, vmm::Feature::kTrackDirtyPages);
    request.clock_realtime = options_.clock_realtime;
    if (options_.huge_pages != HugePages::kAsBefore) request.huge_pages = huge_pages();
    interruption_.ignore();
    std::unique_ptr<lifecycle::PageServerWatch> watch;
    if (report_.mode == ResumeMode::kPageFaults) {
      LAMINA_ASSIGN_OR_RETURN(
          watch, lifecycle::PageServerWatch::start(*store_, options_.page_server_command));
    }
    LAMINA_ASSIGN_OR_RETURN(lifecycle::LastCreate last_create, lifecycle::LastCreate::of(*vmm_));
    LAMINA_RETURN_IF_ERROR(last_create.ask(snapshot_->pause_id));
    const vmm::Reply reply = vmm_->load(request);
    // A load that was refused was not ours, whatever VM is there.
    may_be_loaded_ = reply.outcome() != vmm::Outcome::kRefused;
    return reply.status() ? Status{} : std::unexpected(with_advice(reply.status().error()));
  }

  /// What helps against a load that was refused, where it is known.
  [[nodiscard]] Error with_advice(Error error) const {
    if (error.message.contains("hugetlbfs")) {
      error.message += "; resume with --mode uffd (ingest --huge-pages 2M makes that known)";
    } else if (error.message.contains("boot-specific resources")) {
      // After all other loads that it refuses Firecracker ends.
      error.message += fmt::format(
          "; process {} was configured to boot a VM, and goes on; start another Firecracker for "
          "the resume",
          vmm_->pid());
    }
    return error;
  }

  void compare_origins(const std::string& version) {
    if (!snapshot_->facts) return;
    const store::Origin& then = snapshot_->facts->origin;
    const store::Origin now = lifecycle::origin_here(version);
    const auto compare = [&](const char* what, const std::string& was, const std::string& is) {
      if (was.empty() || is.empty() || was == is) return;
      report_.notes.push_back(fmt::format(
          "the state was made with {} '{}', here is '{}': it may not run here", what, was, is));
    };
    compare("Firecracker", then.vmm_version, now.vmm_version);
    compare("processor", then.cpu, now.cpu);
    compare("host kernel", then.kernel, now.kernel);
  }

  /// The pages that the VM will be on, in Firecracker's words; empty when they are not known.
  [[nodiscard]] std::string huge_pages() const {
    return store::huge_pages_name(options_.huge_pages,
                                  snapshot_->facts ? snapshot_->facts->origin.huge_pages : "");
  }

  /// Why Firecracker would not load from a file; empty when it would.
  [[nodiscard]] std::string why_no_file() const {
    return huge_pages() == store::kHugetlbfsPages ? "the VM's memory is on 2 MiB pages" : "";
  }

  /// Why Firecracker could not reach the page server; empty when it can.
  [[nodiscard]] Result<std::string> why_no_page_faults() const {
    if (jail_->is_apart()) return std::string();
    LAMINA_ASSIGN_OR_RETURN(const std::string store, os::real_path(store_->path()));
    const std::string path = page_server_socket(store);
    if (path.size() <= kMaxSocketPath) return std::string();
    return fmt::format("Firecracker cannot connect to '{}', sockets' paths have at most {} bytes",
                       path, kMaxSocketPath);
  }

  Status choose_mode() {
    report_.mode = options_.mode;
    report_.reason = "asked for";
    const std::string no_file = why_no_file();
    LAMINA_ASSIGN_OR_RETURN(std::string no_faults, why_no_page_faults());
    const bool may_load_otherwise =
        vmm::has_feature(version_, vmm::Feature::kLoadHugePages) && !no_file.empty();
    const auto cannot = [&](const std::string& why, const char* otherwise) {
      return fail(ErrorKind::kFailed, "'{}' cannot be resumed so: {}; {}{}", report_.snapshot, why,
                  otherwise,
                  may_load_otherwise ? ", or on other pages with --huge-pages none" : "");
    };
    if (options_.mode == ResumeMode::kFile) {
      if (no_file.empty()) return {};
      return cannot(no_file + ", which Firecracker loads by page faults only",
                    "resume with --mode uffd");
    }
    if (options_.mode == ResumeMode::kPageFaults) {
      if (no_faults.empty()) return {};
      return cannot(no_faults, no_file.empty() ? "give the store a shorter path, or resume with "
                                                 "--mode file"
                                               : "give the store a shorter path");
    }
    const auto choose = [&](ResumeMode mode, std::string reason) {
      report_.mode = mode;
      report_.reason = std::move(reason);
    };
    const os::MachineFacts machine = os::examine_machine();
    if (no_faults.empty() && !machine.userfaultfd) {
      no_faults = fmt::format("no userfaultfd here: {}", machine.userfaultfd_error);
    }
    if (!no_file.empty() && !no_faults.empty()) {
      return cannot(fmt::format("{}, which needs page faults, and {}", no_file, no_faults),
                    "mend the latter");
    }
    if (!no_file.empty()) {
      choose(ResumeMode::kPageFaults, no_file);
    } else if (!no_faults.empty()) {
      choose(ResumeMode::kFile, no_faults);
    } else if (lifecycle::has_map(*store_, snapshot_->pause_id)) {
      choose(ResumeMode::kFile, "a materialized file of this pause is there already");
    } else if (const double ms = materialize_ms(); ms > kMaxMaterializeMs) {
      choose(ResumeMode::kPageFaults,
             fmt::format("the VM would wait some {:.0f} ms for a materialized file", ms));
    } else {
      LAMINA_ASSIGN_OR_RETURN(const bool shares, shares_storage());
      if (shares) {
        choose(ResumeMode::kFile,
               "the file system shares storage, so a materialized file is cheap");
      } else {
        choose(ResumeMode::kPageFaults,
               "the file system would have to copy the memory into a file");
      }
    }
    return {};
  }

  [[nodiscard]] double materialize_ms() const {
    double bytes = 0;
    double runs = 0;
    for (std::size_t i = 0; i < snapshot_->header.mapping.extent_count(); ++i) {
      const mapping::Extent extent = snapshot_->header.mapping.extent(i);
      if (extent.layer == mapping::kZeros) continue;
      bytes += static_cast<double>(extent.block_count * kBlockBytes);
      ++runs;
    }
    return bytes / kReadBytesPerMs + runs * kCloneMsPerRun;
  }

  /// Tries it on a block of the youngest layer.
  [[nodiscard]] Result<bool> shares_storage() const {
    LAMINA_ASSIGN_OR_RETURN(const os::Fd file, os::open_at(store_->temporary_area(), ".",
                                                           O_TMPFILE | O_RDWR, store_->path()));
    const engine::Layer& layer = snapshot_->chain.layers().back();
    if (layer.data_blocks() == 0) return false;
    const auto cloned = os::clone_range(layer.fd(), 0, file.get(), 0, kBlockBytes, store_->path());
    return cloned && *cloned;
  }

  Status write_pin() {
    LAMINA_ASSIGN_OR_RETURN(store::PinFacts facts, lifecycle::describe_vm(*vmm_, options_.vmm));
    facts.snapshot = options_.name;
    // Until the load is acknowledged: another VM that is started in this process gets no diff to
    // this base.
    facts.needs_full = true;
    facts.by_page_faults = report_.mode == ResumeMode::kPageFaults;
    facts.populate = options_.populate;
    facts.record = options_.record;
    if (report_.mode == ResumeMode::kFile) facts.map = snapshot_->pause_id;
    lifecycle::remove_jail_directory(*pin_);  // of a resume into this process that was killed
    if (!jail_->is_apart()) return pin_->write_facts(facts);
    const Uuid id = Uuid::random();
    jail_directory_ = facts.jail_directory.path = jail_->directory_of(id);
    LAMINA_RETURN_IF_ERROR(pin_->write_facts(facts));
    LAMINA_ASSIGN_OR_RETURN(facts.jail_directory,
                            jail_->make_directory(id, {vmm_->uid(), vmm_->gid()}));
    return pin_->note_facts(facts);
  }

  /// The paths that Firecracker is told. A load that fails costs the process: it must find what is
  /// there.
  Status provide_memory() {
    std::string vmstate = pin_->base_path() + "/" + store::kVmstateName;
    if (jail_->is_apart()) {
      LAMINA_RETURN_IF_ERROR(lifecycle::Jail::give_copy(
          vmstate, jail_directory_, store::kVmstateName, {vmm_->uid(), vmm_->gid()}));
      vmstate = jail_directory_ + "/" + store::kVmstateName;
    } else {
      LAMINA_ASSIGN_OR_RETURN(vmstate, os::real_path(vmstate));
    }
    vmstate_ = jail_->inside(vmstate);
    LAMINA_RETURN_IF_ERROR(lifecycle::check_finds(vmm_->pid(), {vmstate, vmstate_}));
    if (report_.mode == ResumeMode::kFile) return provide_file();
    LAMINA_ASSIGN_OR_RETURN(report_.started_page_server,
                            lifecycle::ensure_page_server(*store_, options_.page_server_command));
    const Status reached = provide_socket();
    if (reached || options_.mode != ResumeMode::kAuto || !why_no_file().empty()) return reached;
    report_.mode = ResumeMode::kFile;
    report_.reason = reached.error().message;
    store::PinFacts facts = *pin_->facts();
    facts.by_page_faults = false;
    facts.map = snapshot_->pause_id;
    LAMINA_RETURN_IF_ERROR(pin_->write_facts(facts));
    return provide_file();
  }

  Status provide_file() {
    LAMINA_ASSIGN_OR_RETURN(
        std::string memory,
        lifecycle::give_map(*store_, *pin_, snapshot_->pause_id, options_.progress));
    if (jail_->is_apart()) {
      LAMINA_RETURN_IF_ERROR(lifecycle::Jail::give_link(memory, jail_directory_, kMemoryName,
                                                        {vmm_->uid(), vmm_->gid()}));
      memory = jail_directory_ + "/" + kMemoryName;
    } else {
      LAMINA_ASSIGN_OR_RETURN(memory, os::real_path(memory));
    }
    backend_ = jail_->inside(memory);
    return lifecycle::check_finds(vmm_->pid(), {memory, backend_});
  }

  Status provide_socket() {
    const std::string socket = page_server_socket(store_->path());
    if (!jail_->is_apart()) {
      LAMINA_ASSIGN_OR_RETURN(backend_, os::real_path(socket));
      return {};
    }
    const std::string given = jail_directory_ + "/" + kSocketName;
    backend_ = jail_->inside(given);
    LAMINA_RETURN_IF_ERROR(lifecycle::Jail::give_socket(socket, jail_directory_, kSocketName));
    return lifecycle::make_socket_seen(vmm_->pid(), socket, {given, backend_});
  }

  /// A Firecracker that could not load ends by itself. What may have been loaded keeps its pin.
  Status clean_up(const Error& cause) {
    Error error = cause;
    if (may_be_loaded_ && !os::has_ended(vmm_->pidfd())) {
      error.message +=
          fmt::format("; process {} may have loaded it, so what it needs is kept", vmm_->pid());
      return std::unexpected(std::move(error));
    }
    const Status released = lifecycle::release_pin(*pin_);
    if (!released) error.message += "; " + released.error().message;
    return std::unexpected(std::move(error));
  }

  static constexpr const char* kMemoryName = "memory";
  static constexpr const char* kSocketName = "page-server.sock";

  const ResumeOptions& options_;
  lifecycle::Interruption interruption_;
  ResumeReport report_;
  lifecycle::Stopwatch watch_;
  std::optional<OpenSnapshot> snapshot_;
  std::optional<lifecycle::Jail> jail_;
  std::optional<Firecracker> vmm_;
  std::optional<Store> store_;
  std::optional<Pin> pin_;
  std::string jail_directory_;
  std::string version_;  ///< of Firecracker
  std::string vmstate_;  ///< as Firecracker sees it
  std::string backend_;  ///< the same
  bool may_be_loaded_ = false;
};

}  // namespace

Result<ResumeReport> resume(const ResumeOptions& options) {
  return contain("resume", [&] { return Resume(options).run(); });
}

}  // namespace lamina
