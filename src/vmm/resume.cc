// Resuming a VM from a store: pin, provide the memory, load, run.
//
// The pin is on the disk before Firecracker is asked: from then on whatever happens to the
// snapshot's name, the VM, its page server and its next diff go by the pin.
#include <fcntl.h>

#include <memory>
#include <optional>
#include <utility>

#include "base/block.h"
#include "base/error.h"
#include "lamina/lifecycle.h"
#include "store/maps.h"
#include "store/name.h"
#include "store/pin.h"
#include "store/resume_count.h"
#include "store/store.h"
#include "sys/clock.h"
#include "sys/directory.h"
#include "sys/machine.h"
#include "sys/process.h"
#include "sys/range_copy.h"
#include "vmm/finish.h"
#include "vmm/firecracker.h"
#include "vmm/interruption.h"
#include "vmm/jail.h"
#include "vmm/page_server_process.h"
#include "vmm/stopwatch.h"
#include "vmm/vm.h"

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
                            store::open_snapshot(source.path, engine::Checksums::kLeave));
    snapshot_.emplace(std::move(snapshot));
    if (!sys::name_exists(snapshot_->directory.get(), store::kVmstateName)) {
      return fail(ErrorKind::kFailed,
                  "snapshot '{}' has no VM state ({}), so no VM can go on from it", source.path,
                  store::kVmstateName);
    }
    LAMINA_RETURN_IF_ERROR(store::check_vmstate(*snapshot_));
    LAMINA_ASSIGN_OR_RETURN(vmm::Jail jail, vmm::Jail::open(options_.vmm.jail));
    jail_.emplace(std::move(jail));
    LAMINA_ASSIGN_OR_RETURN(Firecracker firecracker, vmm::reach(options_.vmm, &interruption_));
    vmm_.emplace(std::move(firecracker));
    report_.pid = vmm_->pid();
    LAMINA_ASSIGN_OR_RETURN(Store store, Store::open(options_.store, report_.notes));
    store_.emplace(std::move(store));
    LAMINA_ASSIGN_OR_RETURN(Pin pin, Pin::claim(*store_, vmm_->pid(), vmm_->start_time()));
    pin_.emplace(std::move(pin));
    // Only now, when nobody else can resume into the same process.
    LAMINA_RETURN_IF_ERROR(check_fresh());
    const Status resumed = resume_claimed();
    if (resumed) return {};
    return clean_up(resumed.error());
  }

  Status check_fresh() {
    LAMINA_ASSIGN_OR_RETURN(const vmm::InstanceInfo instance, vmm_->describe());
    if (instance.state != vmm::VmState::kNotStarted) {
      if (!pin_->facts() && !pin_->has_base()) static_cast<void>(pin_->release());
      return fail(
          ErrorKind::kFailed,
          "the Firecracker at '{}' has a VM already; a snapshot is loaded into one that was "
          "just started",
          options_.vmm.api_socket);
    }
    compare_origins(instance.version);
    return {};
  }

  Status resume_claimed() {
    LAMINA_RETURN_IF_ERROR(
        store::use_while_replaced(*snapshot_, [this] { return pin_->set_base(*snapshot_); }));
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
    interruption_.ignore();
    std::unique_ptr<vmm::PageServerWatch> watch;
    if (report_.mode == ResumeMode::kPageFaults) {
      LAMINA_ASSIGN_OR_RETURN(watch,
                              vmm::PageServerWatch::start(*store_, options_.page_server_command));
    }
    const vmm::Reply reply = vmm_->load(request);
    // A load that was refused was not ours, whatever VM is there.
    may_be_loaded_ = reply.outcome() != vmm::Outcome::kRefused;
    return reply.status();
  }

  void compare_origins(const std::string& version) {
    if (!snapshot_->facts) return;
    const store::Origin& then = snapshot_->facts->origin;
    const store::Origin now = vmm::origin_here(version);
    const auto compare = [&](const char* what, const std::string& was, const std::string& is) {
      if (was.empty() || is.empty() || was == is) return;
      report_.notes.push_back(fmt::format(
          "the state was made with {} '{}', here is '{}': it may not run here", what, was, is));
    };
    compare("Firecracker", then.vmm_version, now.vmm_version);
    compare("processor", then.cpu, now.cpu);
    compare("host kernel", then.kernel, now.kernel);
  }

  Status choose_mode() {
    report_.mode = options_.mode;
    report_.reason = "asked for";
    if (options_.mode != ResumeMode::kAuto) return {};
    const auto choose = [&](ResumeMode mode, std::string reason) {
      report_.mode = mode;
      report_.reason = std::move(reason);
    };
    const sys::MachineFacts machine = sys::examine_machine();
    if (!machine.userfaultfd) {
      choose(ResumeMode::kFile, fmt::format("no userfaultfd here: {}", machine.userfaultfd_error));
    } else if (store::has_map(*store_, snapshot_->pause_id)) {
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
    LAMINA_ASSIGN_OR_RETURN(const sys::Fd file, sys::open_at(store_->temporary_area(), ".",
                                                             O_TMPFILE | O_RDWR, store_->path()));
    const engine::Layer& layer = snapshot_->chain.layers().back();
    if (layer.data_blocks() == 0) return false;
    const auto cloned = sys::clone_range(layer.fd(), 0, file.get(), 0, kBlockBytes, store_->path());
    return cloned && *cloned;
  }

  Status write_pin() {
    LAMINA_ASSIGN_OR_RETURN(store::PinFacts facts, vmm::describe_vm(*vmm_, options_.vmm));
    facts.snapshot = options_.name;
    // Until the load is acknowledged: whoever starts another VM in this process gets no diff to
    // this base.
    facts.needs_full = true;
    facts.by_page_faults = report_.mode == ResumeMode::kPageFaults;
    facts.populate = options_.populate;
    facts.record = options_.record;
    if (report_.mode == ResumeMode::kFile) facts.map = snapshot_->pause_id;
    vmm::remove_jail_directory(*pin_);  // of a resume into this process that was killed
    if (!jail_->is_apart()) return pin_->write_facts(facts);
    const Uuid id = Uuid::random();
    jail_directory_ = facts.jail_directory = jail_->directory_of(id);
    LAMINA_RETURN_IF_ERROR(pin_->write_facts(facts));
    return jail_->make_directory(id, {vmm_->uid(), vmm_->gid()});
  }

  /// The paths that Firecracker is told.
  Status provide_memory() {
    const vmm::Owner owner{vmm_->uid(), vmm_->gid()};
    std::string vmstate = pin_->base_path() + "/" + store::kVmstateName;
    std::string backend;
    if (report_.mode == ResumeMode::kFile) {
      LAMINA_ASSIGN_OR_RETURN(
          backend, store::give_map(*store_, *pin_, snapshot_->pause_id, options_.progress));
    } else {
      LAMINA_ASSIGN_OR_RETURN(report_.started_page_server,
                              vmm::ensure_page_server(*store_, options_.page_server_command));
      backend = page_server_socket(store_->path());
    }
    if (jail_->is_apart()) {
      LAMINA_RETURN_IF_ERROR(
          vmm::Jail::give_copy(vmstate, jail_directory_, store::kVmstateName, owner));
      vmstate = jail_directory_ + "/" + store::kVmstateName;
      if (report_.mode == ResumeMode::kFile) {
        LAMINA_RETURN_IF_ERROR(vmm::Jail::give_link(backend, jail_directory_, kMemoryName, owner));
        backend = jail_directory_ + "/" + kMemoryName;
      } else {
        LAMINA_RETURN_IF_ERROR(vmm::Jail::give_socket(backend, jail_directory_, kSocketName));
        backend = jail_directory_ + "/" + kSocketName;
      }
    } else {
      LAMINA_ASSIGN_OR_RETURN(vmstate, sys::real_path(vmstate));
      LAMINA_ASSIGN_OR_RETURN(backend, sys::real_path(backend));
    }
    vmstate_ = jail_->inside(vmstate);
    backend_ = jail_->inside(backend);
    if (report_.mode != ResumeMode::kFile && backend_.size() > kMaxSocketPath) {
      return fail(ErrorKind::kFailed,
                  "Firecracker cannot connect to '{}', sockets' paths have at most {} bytes; give "
                  "the store a shorter path, or resume by file",
                  backend_, kMaxSocketPath);
    }
    return {};
  }

  /// A Firecracker that could not load ends by itself. What may have been loaded keeps its pin.
  Status clean_up(const Error& cause) {
    Error error = cause;
    if (may_be_loaded_ && !sys::has_ended(vmm_->pidfd())) {
      error.message +=
          fmt::format("; process {} may have loaded it, so what it needs is kept", vmm_->pid());
      return std::unexpected(std::move(error));
    }
    const Status released = vmm::release_pin(*pin_);
    if (!released) error.message += "; " + released.error().message;
    return std::unexpected(std::move(error));
  }

  static constexpr const char* kMemoryName = "memory";
  static constexpr const char* kSocketName = "page-server.sock";

  const ResumeOptions& options_;
  vmm::Interruption interruption_;
  ResumeReport report_;
  vmm::Stopwatch watch_;
  std::optional<OpenSnapshot> snapshot_;
  std::optional<vmm::Jail> jail_;
  std::optional<Firecracker> vmm_;
  std::optional<Store> store_;
  std::optional<Pin> pin_;
  std::string jail_directory_;
  std::string vmstate_;  ///< as Firecracker sees it
  std::string backend_;  ///< the same
  bool may_be_loaded_ = false;
};

}  // namespace

Result<ResumeReport> resume(const ResumeOptions& options) { return Resume(options).run(); }

}  // namespace lamina
