// Resuming a snapshot into a Cloud Hypervisor: a local migration whose sender is lamina. No memory
// is sent: the configuration says that the VM maps a materialized file privately. Only memory on
// huge pages, which no file of a store can be mapped on, is sent in memfds.
#include <fcntl.h>
#include <poll.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <thread>
#include <utility>

#include "base/error.h"
#include "base/stopwatch.h"
#include "lamina/lifecycle.h"
#include "lifecycle/claimed_cloud_hypervisor.h"
#include "lifecycle/claimed_vm.h"
#include "lifecycle/cloud_hypervisor.h"
#include "lifecycle/cloud_hypervisor_handover.h"
#include "lifecycle/guest_image.h"
#include "lifecycle/host_files.h"
#include "lifecycle/interruption.h"
#include "lifecycle/last_create.h"
#include "lifecycle/map_record.h"
#include "lifecycle/maps.h"
#include "lifecycle/memfd_memory.h"
#include "lifecycle/only_resume.h"
#include "lifecycle/resume_from.h"
#include "lifecycle/visibility.h"
#include "lifecycle/vm.h"
#include "os/blocked_signals.h"
#include "os/file.h"
#include "os/long_wait.h"
#include "os/path_walk.h"
#include "os/peer.h"
#include "os/poll.h"
#include "os/process.h"
#include "os/unix_socket.h"
#include "store/name.h"
#include "store/resume_count.h"
#include "vmm/cloud_hypervisor/vm_state.h"

namespace lamina::lifecycle {
namespace {

using store::OpenSnapshot;
using vmm::MigrationCommand;

Status check_options(const ResumeOptions& options) {
  const auto refuse = [](bool asked_for, const char* what, const char* option) -> Status {
    if (!asked_for) return {};
    return with_remedy(
        fail(ErrorKind::kUnsupported, "Cloud Hypervisor cannot resume a VM with {}", what),
        "leave out {}", option);
  };
  LAMINA_RETURN_IF_ERROR(refuse(options.mode == ResumeMode::kPageFaults,
                                "memory by page faults (its guests can read zeros then)",
                                "`mode=uffd`"));
  LAMINA_RETURN_IF_ERROR(
      refuse(options.record, "a recorded working set: it maps a file", "`record`"));
  LAMINA_RETURN_IF_ERROR(
      refuse(options.clock_realtime, "a clock that is moved on", "`clock_realtime`"));
  LAMINA_RETURN_IF_ERROR(refuse(!options.mmds.empty(), "metadata", "`mmds`"));
  return refuse(
      options.huge_pages != HugePages::kAsBefore && options.huge_pages != HugePages::kNone,
      "other pages than before or than 4 KiB", "`huge_pages`");
}

Result<vmm::SavedVm> read_state(const OpenSnapshot& snapshot) {
  constexpr std::uint64_t kMaxBytes = std::uint64_t{256} << 20;
  const std::string path = snapshot.path + "/" + store::kVmstateName;
  if (!snapshot.vmstate_file) {
    if (snapshot.vmstate_file.error().kind != ErrorKind::kNotFound) {
      return std::unexpected(snapshot.vmstate_file.error());
    }
    return fail(ErrorKind::kFailed,
                "snapshot '{}' has no VM state ({}), so no VM can go on from it", snapshot.path,
                store::kVmstateName);
  }
  LAMINA_RETURN_IF_ERROR(store::check_vmstate(snapshot));
  LAMINA_ASSIGN_OR_RETURN(const std::vector<std::byte> bytes,
                          os::read_whole(snapshot.vmstate_file->fd.get(), kMaxBytes, path));
  auto state = vmm::decode_saved_vm(bytes);
  if (!state) {
    return std::unexpected(with_context(fmt::format("'{}'", path), std::move(state.error())));
  }
  return state;
}

class CloudHypervisorResume {
 public:
  CloudHypervisorResume(const ResumeOptions& options, const ResumeSource* source,
                        Interruption& interruption, std::vector<std::string> notes)
      : options_(options), given_(source), interruption_(interruption) {
    report_.notes = std::move(notes);
  }

  Result<ResumeReport> run(ClaimedCloudHypervisor claimed) {
    return report_or_error(work(claimed), report_);
  }

 private:
  struct Source {
    OpenSnapshot snapshot;
    vmm::SavedVm state;
    vmm::MemoryLayout layout;
    vmm::MemoryConfiguration memory;
  };

  Status work(ClaimedCloudHypervisor& claimed) {
    report_.pid = claimed.vmm.pid();
    report_.resume_id = Uuid::random();
    Result<Source> source = open_source();
    const Status possible = source ? check_possible(claimed, source->snapshot)
                                   : Status(std::unexpected(source.error()));
    if (!possible) release_unused_pin(claimed.pin);
    LAMINA_RETURN_IF_ERROR(possible);
    const Status resumed = resume_claimed(claimed, *source);
    if (resumed) return {};
    return clean_up(claimed, resumed.error());
  }

  Result<Source> open_source() {
    LAMINA_RETURN_IF_ERROR(check_options(options_));
    LAMINA_ASSIGN_OR_RETURN(const store::SnapshotPath named,
                            store::snapshot_in(options_.store, options_.name));
    report_.snapshot = named.path;
    LAMINA_ASSIGN_OR_RETURN(OpenSnapshot snapshot,
                            store::open_snapshot(given_ != nullptr ? given_->path : named.path,
                                                 engine::Checksums::kSkip));
    LAMINA_ASSIGN_OR_RETURN(vmm::SavedVm state, read_state(snapshot));
    LAMINA_ASSIGN_OR_RETURN(vmm::MemoryLayout layout, vmm::decode_layout(state.config));
    LAMINA_ASSIGN_OR_RETURN(vmm::MemoryConfiguration memory, vmm::decode_memory(state.config));
    if (layout.memory_bytes != snapshot.header.memory_bytes) {
      return fail(ErrorKind::kCorrupt,
                  "the memory of snapshot '{}' has {} bytes, its VM state describes {}", named.path,
                  snapshot.header.memory_bytes, layout.memory_bytes);
    }
    return Source{std::move(snapshot), std::move(state), std::move(layout), std::move(memory)};
  }

  Status check_possible(ClaimedCloudHypervisor& claimed, const OpenSnapshot& snapshot) {
    LAMINA_RETURN_IF_ERROR(lock_vm(claimed.vmm));
    LAMINA_ASSIGN_OR_RETURN(const std::string version, claimed.vmm.ping());
    LAMINA_ASSIGN_OR_RETURN(const vmm::VmInfo info, claimed.vmm.info());
    if (info.state != vmm::VmState::kNotStarted || info.memory.memory_bytes > 0) {
      return fail(ErrorKind::kFailed,
                  "the Cloud Hypervisor at '{}' has a VM already; a snapshot is loaded into one "
                  "that was just started",
                  options_.vmm.api_socket);
    }
    LAMINA_RETURN_IF_ERROR(once_.check(*claimed.store, snapshot.pause_id, report_.snapshot));
    if (!snapshot.facts) return {};
    for (std::string& note :
         differences(snapshot.facts->origin, origin_here(recorded_version(version)), "VMM")) {
      report_.notes.push_back(std::move(note));
    }
    return {};
  }

  Status resume_claimed(ClaimedCloudHypervisor& claimed, Source& source) {
    OpenSnapshot& snapshot = source.snapshot;
    const vmm::SavedVm& state = source.state;
    const bool in_memfds =
        !source.memory.huge_zones.empty() && options_.huge_pages != HugePages::kNone;
    LAMINA_RETURN_IF_ERROR(
        store::retry_if_replaced(snapshot, [&] { return claimed.pin.set_base(snapshot); }));
    report_.pause_id = snapshot.pause_id;
    report_.mode = ResumeMode::kFile;
    report_.reason = in_memfds ? "its memory is on huge pages, in files that only exist in memory"
                               : "Cloud Hypervisor maps a file";
    LAMINA_ASSIGN_OR_RETURN(store::PinFacts facts, describe_vm(claimed.vmm, options_.vmm));
    facts.snapshot = options_.name;
    if (!in_memfds) facts.map = snapshot.pause_id;
    if (given_ != nullptr) {
      facts.base_in_flight = given_->in_flight.has_value();
      // Not before: the directory has none, and what is there is linked.
      if (given_->in_flight) snapshot.facts = given_->in_flight;
    }
    LAMINA_RETURN_IF_ERROR(claimed.pin.write_facts(facts));
    if (!in_memfds) LAMINA_RETURN_IF_ERROR(write_map_record(claimed.pin, {}));
    if (given_ != nullptr && given_->pinned) given_->pinned();
    report_.pin_ms = watch_.lap();

    vmm::ResumeConfiguration change;
    if (in_memfds) {
      LAMINA_RETURN_IF_ERROR(provide_memfds(claimed, source));
    } else {
      LAMINA_ASSIGN_OR_RETURN(change.memory_file, provide_file(claimed, snapshot.pause_id));
    }
    change.paths.vsock_socket = options_.vsock_override;
    change.paths.serial = options_.serial_override;
    change.paths.console = options_.console_override;
    change.paths.drives.reserve(options_.drive_overrides.size());
    for (const DriveOverride& override : options_.drive_overrides) {
      change.paths.drives.emplace_back(override.drive_id, override.path);
    }
    change.networks.reserve(options_.network_overrides.size());
    for (const NetworkOverride& override : options_.network_overrides) {
      change.networks.emplace_back(override.interface_id, override.host_device);
    }
    LAMINA_ASSIGN_OR_RETURN(const std::string config, vmm::configure_resume(state.config, change));
    LAMINA_ASSIGN_OR_RETURN(const HostFiles files,
                            HostFiles::claim(claimed.vmm.pid(), config, claimed.store->path()));
    report_.prepare_ms = watch_.lap();
    if (interruption_.interrupted()) return fail(ErrorKind::kInterrupted, "interrupted");
    interruption_.ignore();
    LAMINA_RETURN_IF_ERROR(once_.consume(*claimed.store, snapshot, claimed.pin.name()));
    LAMINA_RETURN_IF_ERROR(load(claimed, config, state.state));
    report_.load_ms = watch_.lap();
    const auto number = store::count_resume(*claimed.store, snapshot.pause_id);
    if (number) {
      report_.clone_number = *number;
    } else {
      report_.notes.push_back(one_line(number.error()));
    }
    return {};
  }

  /// The path of the file that the VM maps.
  [[nodiscard]] Result<std::string> provide_file(const ClaimedCloudHypervisor& claimed,
                                                 const Uuid& pause_id) const {
    LAMINA_ASSIGN_OR_RETURN(std::string memory,
                            provide_map(*claimed.store, claimed.pin, pause_id, options_.progress));
    LAMINA_ASSIGN_OR_RETURN(memory, os::real_path(memory));
    LAMINA_RETURN_IF_ERROR(check_finds(claimed.vmm.pid(), {memory, memory}));
    return memory;
  }

  Status provide_memfds(const ClaimedCloudHypervisor& claimed, Source& source) {
    LAMINA_ASSIGN_OR_RETURN(const OpenSnapshot base, store::open_snapshot(claimed.pin.base_path()));
    LAMINA_ASSIGN_OR_RETURN(
        memfds_, make_memfds(source.layout, source.memory, base.chain, options_.progress));
    layout_ = std::move(source.layout);
    return {};
  }

  /// Plays the sender, while a request of the API waits in another thread for the end.
  Status load(ClaimedCloudHypervisor& claimed, const std::string& config,
              const std::string& state) {
    const MigrationSocketPath path(claimed.pin_path, "restore.sock");
    path.remove();  // of a resume that was killed
    LAMINA_ASSIGN_OR_RETURN(
        const vmm::CloudHypervisor receiver,
        vmm::CloudHypervisor::connect(options_.vmm.api_socket, claimed.vmm.timeouts(), nullptr));
    if (receiver.pid() != claimed.vmm.pid() || receiver.start_time() != claimed.vmm.start_time()) {
      return fail(ErrorKind::kFailed, "another process listens at '{}' now",
                  options_.vmm.api_socket);
    }
    std::optional<vmm::Reply> reply;
    Status sent;
    {
      std::atomic<bool> is_over{false};
      std::jthread request;
      {
        const os::BlockedSignals inherited(os::BlockedSignals::Which::kSent);
        request = std::jthread([&] {
          reply.emplace(receiver.receive_migration(path.get()));
          is_over = true;
        });
      }
      sent = send(claimed, path.get(), config, state, is_over);
      if (!sent) release(claimed, path.get(), is_over);
    }
    if (was_killed_) return sent;
    // An answer to the request says more than a message that was refused.
    if (!reply->status()) return reply->status();
    if (!sent && sent.error().kind == ErrorKind::kCorrupt) {
      return of_kind(ErrorKind::kFailed, std::unexpected(sent.error()));
    }
    return sent;
  }

  Status send(ClaimedCloudHypervisor& claimed, const std::string& path, const std::string& config,
              const std::string& state, const std::atomic<bool>& is_over) {
    const os::LongWait waiting;
    LAMINA_ASSIGN_OR_RETURN(os::Fd socket, connect(claimed, path, is_over));
    vmm::MigrationChannel channel(std::move(socket));
    const vmm::MigrationWait wait{claimed.vmm.timeouts().load, claimed.vmm.pidfd(), nullptr};
    LAMINA_RETURN_IF_ERROR(channel.request(MigrationCommand::kStart, {}, wait));
    for (const auto& [slot, memory] : memfds_) {
      LAMINA_RETURN_IF_ERROR(channel.send_memory(slot, memory.get(), wait));
    }
    LAMINA_RETURN_IF_ERROR(channel.request(MigrationCommand::kConfig, config, wait));
    may_be_loaded_ = true;
    LAMINA_RETURN_IF_ERROR(channel.request(MigrationCommand::kState, state, wait));
    LAMINA_RETURN_IF_ERROR(check_mapping(claimed, config));
    const MigrationCommand last =
        options_.stay_paused ? MigrationCommand::kCompletePaused : MigrationCommand::kComplete;
    may_have_run_ = last == MigrationCommand::kComplete;
    return channel.request(last, {}, wait);
  }

  /// Ends a request that waits for a sender: one that connects and leaves ends it. A Cloud
  /// Hypervisor that was stopped, or is slow, may begin to listen only now. Returns when the
  /// request has its answer, which its own limit bounds.
  static void release(const ClaimedCloudHypervisor& claimed, const std::string& path,
                      const std::atomic<bool>& is_over) {
    constexpr int kPauseMs = 10;
    while (!is_over) {
      static_cast<void>(os::connect_to(path));
      pollfd ended{claimed.vmm.pidfd(), POLLIN, 0};
      const auto has_ended = os::wait_for_events({&ended, 1}, kPauseMs);
      if (!has_ended || *has_ended) return;
    }
  }

  /// Waits until Cloud Hypervisor listens.
  static Result<os::Fd> connect(const ClaimedCloudHypervisor& claimed, const std::string& path,
                                const std::atomic<bool>& is_over) {
    constexpr int kPauseMs = 2;
    const auto end = std::chrono::steady_clock::now() + claimed.vmm.timeouts().request;
    while (true) {
      auto socket = os::connect_to(path, claimed.vmm.timeouts().request);
      if (socket) {
        LAMINA_ASSIGN_OR_RETURN(const os::Peer peer, os::peer_of(socket->get()));
        if (peer.pid == claimed.vmm.pid()) return socket;
        return fail(ErrorKind::kFailed, "process {} listens at '{}'", peer.pid, path);
      }
      if (is_over || std::chrono::steady_clock::now() >= end) return socket;
      pollfd ended{claimed.vmm.pidfd(), POLLIN, 0};
      LAMINA_ASSIGN_OR_RETURN(const bool has_ended, os::wait_for_events({&ended, 1}, kPauseMs));
      if (has_ended) return fail(ErrorKind::kFailed, "its process has ended");
    }
  }

  /// Whether the VM's memory is the file or the memfds, before its guest runs. A VM whose memory is
  /// something else is killed: it must neither run nor be paused as a child of this snapshot.
  Status check_mapping(const ClaimedCloudHypervisor& claimed, const std::string& config) {
    if (!memfds_.empty()) {
      const Status mapped = check_maps_memfds(claimed.vmm.pid(), layout_, memfds_);
      if (mapped) return {};
      return kill(claimed, "the memfds that it was sent", mapped.error(),
                  "check that this version of Cloud Hypervisor maps them");
    }
    const std::string map_path = claimed.pin.path() + "/" + kPinMapName;
    LAMINA_ASSIGN_OR_RETURN(
        const os::OpenedFile map,
        os::open_regular(claimed.pin.directory(), kPinMapName, O_RDONLY | O_NOFOLLOW, map_path));
    const auto image = GuestImage::find(claimed.vmm.pid(), config, {}, &map);
    if (image && image->is_map()) return {};
    return kill(claimed, "'" + map_path + "'",
                image ? Error{ErrorKind::kFailed, "it maps other files"} : image.error(),
                "check that this version of Cloud Hypervisor maps the files of memory zones "
                "privately");
  }

  std::unexpected<Error> kill(const ClaimedCloudHypervisor& claimed, const std::string& memory,
                              const Error& why, const char* remedy) {
    was_killed_ = true;
    static_cast<void>(os::kill_process(claimed.vmm.pidfd()));
    return with_remedy(
        std::unexpected(with_context(
            fmt::format("process {} was killed, because the memory of its VM is not {}",
                        claimed.vmm.pid(), memory),
            why)),
        "{}", remedy);
  }

  /// A Cloud Hypervisor that refused has no VM and can be used again.
  Status clean_up(ClaimedCloudHypervisor& claimed, Error cause) const {
    const bool has_ended = os::has_ended(claimed.vmm.pidfd());
    if (may_be_loaded_ && !has_ended) {
      const auto info = claimed.vmm.info();
      const bool has_vm = !info || info->memory.memory_bytes > 0;
      if (has_vm && !os::has_ended(claimed.vmm.pidfd())) {
        cause.message += fmt::format("; process {} may have loaded it, so what it needs is kept",
                                     claimed.vmm.pid());
        return std::unexpected(std::move(cause));
      }
    }
    // Its process has no VM. The only resume was none, unless the guest has run before.
    if (!may_have_run_) once_.give_back(*claimed.store, report_.pause_id, cause);
    const Status released = release_pin(claimed.pin);
    if (!released) cause.message += "; " + one_line(released.error());
    return std::unexpected(std::move(cause));
  }

  const ResumeOptions& options_;
  const ResumeSource* given_;  ///< null: the snapshot that the options name
  OnlyResume once_{options_.again};
  Interruption& interruption_;
  ResumeReport report_;
  Stopwatch watch_;
  vmm::MemoryLayout layout_;  ///< of memfds_
  Memfds memfds_;             ///< empty: the VM maps a file
  bool may_be_loaded_ = false;
  bool may_have_run_ = false;  ///< was told to
  bool was_killed_ = false;
};

}  // namespace

Result<ResumeReport> resume_cloud_hypervisor(const ResumeOptions& options,
                                             const ResumeSource* source,
                                             ClaimedCloudHypervisor claimed,
                                             Interruption& interruption,
                                             std::vector<std::string> notes) {
  return CloudHypervisorResume(options, source, interruption, std::move(notes))
      .run(std::move(claimed));
}

}  // namespace lamina::lifecycle
