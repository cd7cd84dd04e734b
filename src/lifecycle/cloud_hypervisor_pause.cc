// The order is in cloud_hypervisor.h.
#include <fcntl.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "base/block.h"
#include "base/contain.h"
#include "base/error.h"
#include "base/stopwatch.h"
#include "lamina/lifecycle.h"
#include "lifecycle/claimed_cloud_hypervisor.h"
#include "lifecycle/claimed_vm.h"
#include "lifecycle/cloud_hypervisor.h"
#include "lifecycle/cloud_hypervisor_handover.h"
#include "lifecycle/finish.h"
#include "lifecycle/frozen_vm.h"
#include "lifecycle/guest_image.h"
#include "lifecycle/interruption.h"
#include "lifecycle/last_create.h"
#include "lifecycle/map_record.h"
#include "lifecycle/maps.h"
#include "lifecycle/pause_with.h"
#include "lifecycle/prepared_pause.h"
#include "lifecycle/vm.h"
#include "lifecycle/written_runs.h"
#include "os/file.h"
#include "os/hole_probe.h"
#include "os/long_wait.h"
#include "os/machine.h"
#include "os/process.h"
#include "store/ancestors.h"
#include "store/huge_pages.h"
#include "store/name.h"
#include "store/spare_storage.h"
#include "vmm/cloud_hypervisor/vm_state.h"

namespace lamina::lifecycle {
namespace {

/// What the VM, its process and its pin say before a pause.
struct ExaminedGuest {
  std::string version;
  bool was_running = false;
  std::uint64_t memory_bytes = 0;
  std::string huge_pages;  ///< as the journal's origin has it
  std::optional<store::OpenSnapshot> base;
  std::optional<Uuid> last_pause;     ///< since that resume
  std::optional<os::OpenedFile> map;  ///< that the VM maps, if it was resumed from this store
};

/// What becomes the memory file.
enum class Capture : std::uint8_t {
  kAll,        ///< all of the memory
  kWritten,    ///< what was written since the VM's map was mapped, as the page table says
  kDifferent,  ///< what is not in the base: all of the memory is compared
};

struct CaptureKind {
  Capture capture = Capture::kAll;
  [[nodiscard]] bool is_diff() const { return capture != Capture::kAll; }
  std::string reason;
  os::HoleProbe probe;
};

/// In Firecracker's words; empty for pages that it has none for.
std::string pages_of(const vmm::MemoryConfiguration& memory) {
  constexpr std::uint64_t kHugePageBytes = std::uint64_t{2} << 20;
  if (memory.huge_zones.empty()) return store::huge_pages_name(HugePages::kNone, "");
  // 0 is the host's default, nearly everywhere 2 MiB.
  const bool is_usual = std::ranges::all_of(memory.huge_zones, [](const vmm::HugeZone& zone) {
    return zone.page_bytes == 0 || zone.page_bytes == kHugePageBytes;
  });
  return is_usual ? store::kHugetlbfsPages : "";
}

class CloudHypervisorPause {
 public:
  CloudHypervisorPause(const PauseOptions& options, const WhenReadable& when_readable,
                       Interruption& interruption, std::vector<std::string> notes)
      : options_(options), when_readable_(when_readable), interruption_(interruption) {
    report_.notes = std::move(notes);
  }

  Result<PauseReport> run(ClaimedCloudHypervisor claimed) {
    const Status done = work(std::move(claimed));
    spare_.release(report_.snapshot, report_.notes);
    return report_or_error(done, report_);
  }

 private:
  Status work(ClaimedCloudHypervisor claimed) {
    report_.snapshot = options_.store + "/" + options_.name;
    store_ = claimed.store;
    const Status paused = pause_claimed(claimed);
    if (!paused) release_unused_pin(claimed.pin);
    return paused;
  }

  Status pause_claimed(ClaimedCloudHypervisor& claimed) {
    LAMINA_RETURN_IF_ERROR(settle_queue(*claimed.store, claimed.pin, claimed.vmm, report_.notes));
    LAMINA_RETURN_IF_ERROR(lock_vm(claimed.vmm));
    LAMINA_ASSIGN_OR_RETURN(const ExaminedGuest examined, examine(claimed));
    LAMINA_ASSIGN_OR_RETURN(const CaptureKind kind, choose(claimed, examined));
    LAMINA_RETURN_IF_ERROR(check_target(*claimed.store, descent_of(examined), options_));
    LAMINA_RETURN_IF_ERROR(check_pause_id(*claimed.store, options_));
    if (!kind.is_diff()) LAMINA_RETURN_IF_ERROR(check_space(examined));
    LAMINA_ASSIGN_OR_RETURN(PreparedPause prepared, prepare(claimed, examined, kind));
    report_.phases.prepare_ms = watch_.lap();
    // If this fails the VM is as it was, and the files are of no use.
    auto begun = contain("pause", [&] { return hand_over(claimed, examined, kind, prepared); });
    if (!begun) return give_up(claimed, examined, prepared, begun.error());
    return options_.after == AfterPause::kStop ? finish_and_stop(claimed, prepared, *begun)
                                               : go_on_and_finish(claimed, prepared, *begun);
  }

  static Result<ExaminedGuest> examine(ClaimedCloudHypervisor& claimed) {
    ExaminedGuest examined;
    LAMINA_ASSIGN_OR_RETURN(examined.version, claimed.vmm.ping());
    LAMINA_ASSIGN_OR_RETURN(const vmm::VmInfo info, claimed.vmm.info());
    if (info.state == vmm::VmState::kNotStarted) {
      return fail(ErrorKind::kFailed, "the Cloud Hypervisor at '{}' has no VM that could be paused",
                  claimed.vmm.api_socket());
    }
    if (!info.memory.obstacle.empty()) {
      return fail(ErrorKind::kUnsupported, "the VM at '{}' cannot be captured: {}",
                  claimed.vmm.api_socket(), info.memory.obstacle);
    }
    examined.was_running = info.state == vmm::VmState::kRunning;
    examined.memory_bytes = info.memory.memory_bytes;
    examined.huge_pages = pages_of(info.memory);
    LAMINA_ASSIGN_OR_RETURN(examined.base, open_base(*claimed.store, claimed.pin));
    LAMINA_ASSIGN_OR_RETURN(const auto record, read_map_record(claimed.pin));
    if (claimed.pin.facts() && record) {
      examined.last_pause = record->last_pause;
      const std::string path = claimed.pin.path() + "/" + kPinMapName;
      LAMINA_ASSIGN_OR_RETURN(
          os::OpenedFile map,
          os::open_regular(claimed.pin.directory(), kPinMapName, O_RDONLY | O_NOFOLLOW, path));
      examined.map.emplace(std::move(map));
    }
    return examined;
  }

  /// Why all of the memory is captured; empty if a diff suffices.
  [[nodiscard]] std::string why_full(const ClaimedCloudHypervisor& claimed,
                                     const ExaminedGuest& examined) const {
    if (options_.full) return "asked for";
    if (!examined.base) return "this store has no earlier state of the VM";
    if (claimed.pin.facts()->base_in_flight) {
      return "what the VM was forked from was not on the disk yet, or could not be stored";
    }
    if (examined.base->header.memory_bytes == examined.memory_bytes) return {};
    return fmt::format("the VM has {} bytes of memory now, its base {}", examined.memory_bytes,
                       examined.base->header.memory_bytes);
  }

  /// Whether the page table tells what is not in the base: the VM maps the base's file.
  static bool maps_base(const ClaimedCloudHypervisor& claimed, const ExaminedGuest& examined) {
    if (!examined.map || examined.base->pause_id != claimed.pin.facts()->map) return false;
    const auto mapped = os::file_mappings_of(claimed.vmm.pid());
    const auto map = os::facts_as_mapped(*examined.map, kPinMapName);
    if (!mapped || !map) return false;
    return std::any_of(mapped->begin(), mapped->end(), [&](const os::FileMapping& mapping) {
      return mapping.device == map->device && mapping.inode == map->inode;
    });
  }

  Result<CaptureKind> choose(const ClaimedCloudHypervisor& claimed,
                             const ExaminedGuest& examined) const {
    CaptureKind kind;
    kind.reason = why_full(claimed, examined);
    if (!kind.reason.empty()) return kind;
    LAMINA_ASSIGN_OR_RETURN(kind.probe,
                            os::probe_holes(claimed.store->temporary_area(), examined.memory_bytes,
                                            claimed.store->path()));
    if (!kind.probe.is_exact) {
      kind.reason = fmt::format("holes in '{}' cannot be trusted: {}", claimed.store->path(),
                                kind.probe.explanation);
      return kind;
    }
    const std::string base = examined.base->pause_id.to_string();
    if (maps_base(claimed, examined)) {
      kind.capture = Capture::kWritten;
      kind.reason = fmt::format("of what changed since pause {}, which the VM maps", base);
    } else {
      kind.capture = Capture::kDifferent;
      kind.reason = fmt::format("of what differs from pause {}, by comparing all memory", base);
    }
    return kind;
  }

  static std::vector<Uuid> descent_of(const ExaminedGuest& examined) {
    std::vector<Uuid> ids;
    if (examined.base) ids.push_back(examined.base->pause_id);
    if (examined.last_pause) ids.push_back(*examined.last_pause);
    return ids;
  }

  [[nodiscard]] Status check_space(const ExaminedGuest& examined) const {
    LAMINA_ASSIGN_OR_RETURN(const std::uint64_t free, os::free_bytes(options_.store));
    if (free >= examined.memory_bytes) return {};
    return fail(ErrorKind::kNoSpace,
                "the memory file may need {} bytes, and '{}' has {} left; the VM is not touched",
                examined.memory_bytes, options_.store, free);
  }

  /// Of the new state: those of its base, with the pauses of this VM since.
  static std::vector<Uuid> ancestors(const ClaimedCloudHypervisor& claimed,
                                     const ExaminedGuest& examined) {
    std::vector<Uuid> ids = store::ancestors_of_child(examined.base->pause_id, examined.base->facts,
                                                      claimed.store->path());
    if (examined.last_pause) ids.insert(ids.begin() + 1, *examined.last_pause);
    return ids;
  }

  Result<PreparedPause> prepare(ClaimedCloudHypervisor& claimed, const ExaminedGuest& examined,
                                const CaptureKind& kind) {
    if (!claimed.pin.facts()) {
      LAMINA_ASSIGN_OR_RETURN(const store::PinFacts facts, describe_vm(claimed.vmm, options_.vmm));
      LAMINA_RETURN_IF_ERROR(claimed.pin.write_facts(facts));
    }
    const store::PinFacts& facts = *claimed.pin.facts();
    store::PauseJournal journal;
    journal.pause_id = options_.pause_id.value_or(Uuid::random());
    journal.build_id = Uuid::random();
    journal.name = options_.name;
    journal.replace = options_.replace;
    journal.kind = kind.is_diff() ? MemoryFileKind::kDiff : MemoryFileKind::kFull;
    journal.reason = kind.reason;
    // A page that was written may hold what it held before.
    journal.compare = kind.capture == Capture::kWritten;
    if (examined.base) {
      journal.parent_pause_id = examined.base->pause_id;
      journal.ancestors = ancestors(claimed, examined);
      journal.parent = facts.snapshot;
    }
    journal.last_pause_id = examined.last_pause;
    journal.vm = claimed.pin.name();
    LAMINA_ASSIGN_OR_RETURN(journal.api_socket, recorded_path(options_.vmm.api_socket));
    journal.after = options_.after;
    journal.was_running = examined.was_running;
    journal.created = store::timestamp_now();
    journal.origin = origin_here(recorded_version(examined.version));
    journal.origin.huge_pages = examined.huge_pages;
    journal.once = options_.once;
    // What acknowledge() records; a state that is read before is acknowledged by complete().
    if (when_readable_) journal.memory_bytes = examined.memory_bytes;
    journal.lacks_files = !options_.frozen_hook.empty() || options_.while_frozen != nullptr ||
                          !options_.attachments.empty();
    if (interruption_.interrupted()) return fail(ErrorKind::kInterrupted, "interrupted");
    LAMINA_ASSIGN_OR_RETURN(os::SpareDescriptors spare,
                            os::SpareDescriptors::take(kDescriptorsToThaw));
    auto pending =
        PendingPause::begin(*claimed.store, journal, examined.memory_bytes,
                            examined.base ? examined.base->header.mapping.extent_count() : 0);
    if (!pending) {
      return std::unexpected(
          with_context("the pause needs space beyond the memory file", pending.error()));
    }
    report_.is_diff = kind.is_diff();
    report_.reason = kind.reason;
    report_.pause_id = journal.pause_id;
    report_.parent_pause_id = journal.parent_pause_id;
    report_.place_reason = "lamina reads the memory of the process";
    std::string directory = pending->path();
    return PreparedPause{
        std::move(*pending), std::move(directory), kind.probe, {}, std::move(spare)};
  }

  /// A VM that is frozen, its memory file and state written but not synced.
  struct Captured {
    Handover handover;
    Result<std::vector<std::string>> attached;
    Stopwatch since_freeze;
  };

  Result<Captured> hand_over(ClaimedCloudHypervisor& claimed, const ExaminedGuest& examined,
                             const CaptureKind& kind, PreparedPause& prepared) {
    if (options_.after == AfterPause::kStay && examined.was_running) {
      LAMINA_RETURN_IF_ERROR(claimed.vmm.pause().status());
    }
    LAMINA_ASSIGN_OR_RETURN(Handover handover,
                            Handover::begin(claimed.vmm, claimed.pin_path, &interruption_));
    // All that can be refused is refused before the VM is frozen.
    LAMINA_ASSIGN_OR_RETURN(
        const GuestImage image,
        GuestImage::find(claimed.vmm.pid(), handover.config(), handover.memory(),
                         examined.map ? &*examined.map : nullptr));
    if (image.memory_bytes() != examined.memory_bytes) {
      return fail(ErrorKind::kFailed,
                  "Cloud Hypervisor hands over {} bytes of memory of a machine of {} bytes",
                  image.memory_bytes(), examined.memory_bytes);
    }
    if (kind.capture == Capture::kWritten && !image.is_map()) {
      return with_remedy(
          fail(ErrorKind::kFailed,
               "the VM does not map all of its memory from the file that it was resumed from"),
          "set `full`");
    }
    if (kind.capture == Capture::kDifferent) {
      LAMINA_RETURN_IF_ERROR(read_ahead(examined.base->chain, interruption_));
    }
    interruption_.ignore();
    report_.phases.pause_ms = watch_.lap();
    Stopwatch since_freeze;
    LAMINA_RETURN_IF_ERROR(handover.freeze());
    LAMINA_RETURN_IF_ERROR(write_files(image, handover, examined, kind, prepared));
    report_.phases.create_ms = watch_.lap();
    auto attached = contain("pause", [&] { return capture_files(prepared, options_); });
    report_.phases.hook_ms = watch_.lap();
    return Captured{std::move(handover), std::move(attached), since_freeze};
  }

  static Status write_files(const GuestImage& image, const Handover& handover,
                            const ExaminedGuest& examined, const CaptureKind& kind,
                            const PreparedPause& prepared) {
    const PendingPause& pending = prepared.pending;
    const std::string path = pending.path() + "/" + pending.layer_name();
    LAMINA_ASSIGN_OR_RETURN(
        const os::Fd memory,
        os::open_at(pending.directory(), pending.layer_name(), O_RDWR | O_CREAT | O_EXCL, path));
    if (kind.is_diff()) {
      LAMINA_ASSIGN_OR_RETURN(
          const std::vector<ByteRange> written,
          kind.capture == Capture::kWritten
              ? image.write_changed(memory.get(), path)
              : image.write_different(examined.base->chain, memory.get(), path));
      if (!kind.probe.distinguishes_preallocated) {
        LAMINA_RETURN_IF_ERROR(write_written_runs(written, pending.directory(), pending.path()));
      }
    } else {
      LAMINA_RETURN_IF_ERROR(image.write_all(memory.get(), path));
    }
    const std::string state =
        vmm::encode_saved_vm({examined.version, handover.config(), handover.state()});
    const std::string state_path = pending.path() + "/" + store::kVmstateName;
    LAMINA_ASSIGN_OR_RETURN(const os::Fd file, os::open_at(pending.directory(), store::kVmstateName,
                                                           O_RDWR | O_CREAT | O_EXCL, state_path));
    return os::write_at(file.get(), std::as_bytes(std::span(state)), 0, state_path);
  }

  static Status sync_file(const PendingPause& pending, const std::string& name) {
    const std::string path = pending.path() + "/" + name;
    LAMINA_ASSIGN_OR_RETURN(const os::Fd file,
                            os::open_at(pending.directory(), name, O_RDONLY, path));
    return os::sync(file.get(), path);
  }

  /// The journal of a pause whose attached files are on the disk, or have failed.
  static store::PauseJournal journal_with_attached(const PendingPause& pending,
                                                   Captured& captured) {
    store::PauseJournal journal = pending.journal();
    if (!captured.attached) return journal;
    const Status synced = sync_attached(pending, *captured.attached);
    if (synced) {
      journal.lacks_files = false;
    } else {
      captured.attached = std::unexpected(synced.error());
    }
    return journal;
  }

  /// The state is read before it is on the disk. It is acknowledged by complete(), after the syncs:
  /// a journal that said so before would outlive a power failure, and the memory file would not.
  Status acknowledge_when_complete(PendingPause& pending, Captured& captured) {
    if (pending.journal().lacks_files) {
      LAMINA_RETURN_IF_ERROR(pending.write_journal(journal_with_attached(pending, captured)));
    }
    report_.phases.journal_ms = watch_.lap();
    pending.record_phases(report_.phases);
    pending.call_when_readable([this, &pending]() -> Status {
      LAMINA_RETURN_IF_ERROR(when_readable_(pending));
      return sync_file(pending, store::kVmstateName);
    });
    return {};
  }

  /// Everything of the pause is on the disk: it is acknowledged.
  Status acknowledge(PendingPause& pending, Captured& captured, std::uint64_t memory_bytes) {
    LAMINA_RETURN_IF_ERROR(sync_file(pending, pending.layer_name()));
    LAMINA_RETURN_IF_ERROR(sync_file(pending, store::kVmstateName));
    store::PauseJournal journal = journal_with_attached(pending, captured);
    LAMINA_RETURN_IF_ERROR(os::sync(pending.directory(), pending.path()));
    journal.acknowledged = true;
    journal.memory_bytes = memory_bytes;
    const Status written = pending.write_journal(journal);
    report_.phases.journal_ms = watch_.lap();
    pending.record_phases(report_.phases);
    return written;
  }

  /// Makes the snapshot. On failure the pause is discarded or queued, and the error says which.
  Status finish(ClaimedCloudHypervisor& claimed, PreparedPause& prepared, Captured& captured) {
    PendingPause& pending = prepared.pending;
    LAMINA_ASSIGN_OR_RETURN(
        const os::FileFacts memory,
        os::facts_of_name(pending.directory(), pending.layer_name(), pending.path()));
    const Status acknowledged = when_readable_ ? acknowledge_when_complete(pending, captured)
                                               : acknowledge(pending, captured, memory.size_bytes);
    if (!acknowledged) return discarded(pending, acknowledged.error());
    auto finished = contain(
        "pause", [&] { return finish_pause(*claimed.store, pending, claimed.pin, report_.notes); });
    if (!finished && !pending.is_acknowledged()) return discarded(pending, finished.error());
    if (!finished) return queued(pending, finished.error());
    report_.snapshot = options_.store + "/" + finished->name;
    report_.generation = finished->generation;
    report_.memory_bytes = finished->memory_bytes;
    report_.stored_bytes = finished->found.stored_blocks * kBlockBytes;
    report_.unchanged_bytes = finished->found.unchanged_blocks * kBlockBytes;
    report_.phases.complete_ms = finished->complete_ms;
    report_.phases.publish_ms = finished->publish_ms;
    report_.phases.durable_ms = captured.since_freeze.elapsed_ms();
    spare_ = std::move(finished->found.spare);
    return {};
  }

  /// A checkpoint. The VM runs on before anything is synced.
  Status go_on_and_finish(ClaimedCloudHypervisor& claimed, PreparedPause& prepared,
                          Captured& captured) {
    const bool runs_on = prepared.journal().was_running && options_.after == AfterPause::kResume;
    prepared.spare.release();
    static_cast<void>(captured.handover.refuse());
    Status resumed = wait_for_return(claimed.vmm, runs_on);
    if (resumed && options_.after == AfterPause::kResume) {
      resumed = claimed.vmm.resume().status();  // also one that was paused before
    }
    report_.phases.resume_ms = watch_.lap();
    if (options_.after == AfterPause::kResume) {
      report_.phases.frozen_ms = captured.since_freeze.elapsed_ms();
    }
    unlock_vm(claimed.vmm);
    LAMINA_RETURN_IF_ERROR(finish(claimed, prepared, captured));
    const bool has_ended = os::has_ended(claimed.vmm.pidfd());
    if (resumed || has_ended) LAMINA_RETURN_IF_ERROR(prepared.pending.end());
    LAMINA_RETURN_IF_ERROR(check_attached(captured, runs_on));
    if (resumed || has_ended) return {};
    return with_remedy(
        std::unexpected(with_context(
            fmt::format("'{}' is published, but the VM stays paused", report_.snapshot),
            resumed.error())),
        "its next pause lets it run, or run: lamina recover {}", options_.store);
  }

  /// The VM waits, and ends when its snapshot is there.
  Status finish_and_stop(ClaimedCloudHypervisor& claimed, PreparedPause& prepared,
                         Captured& captured) {
    const bool was_running = prepared.journal().was_running;
    const Status finished = finish(claimed, prepared, captured);
    if (!finished || !captured.attached) {
      prepared.spare.release();
      static_cast<void>(captured.handover.refuse());
      static_cast<void>(wait_for_return(claimed.vmm, was_running));
      LAMINA_RETURN_IF_ERROR(finished);
      LAMINA_RETURN_IF_ERROR(prepared.pending.end());
      return check_attached(captured, was_running);
    }
    const Status accepted = captured.handover.accept();
    const os::LongWait waiting;
    LAMINA_ASSIGN_OR_RETURN(const bool ended,
                            os::wait_for_end(claimed.vmm.pidfd(), claimed.vmm.timeouts().request));
    LAMINA_RETURN_IF_ERROR(prepared.pending.end());
    if (ended) {
      release_pin_of_stopped(claimed.pin, report_.notes);
      return {};
    }
    const std::string why = accepted ? "it has not ended" : one_line(accepted.error());
    return fail(ErrorKind::kFailed,
                "'{}' is published, but process {} was not stopped: {}; its VM may run on",
                report_.snapshot, claimed.vmm.pid(), why);
  }

  [[nodiscard]] Status check_attached(const Captured& captured, bool runs_on) const {
    if (captured.attached) return {};
    return std::unexpected(
        with_context(fmt::format("the state is kept as '{}', without what belongs to it; the VM {}",
                                 report_.snapshot, runs_on ? "runs on" : "stays paused"),
                     captured.attached.error()));
  }

  /// After a handover that has ended without its files.
  [[nodiscard]] Status return_as_it_was(vmm::CloudHypervisor& vmm,
                                        const ExaminedGuest& examined) const {
    if (options_.after == AfterPause::kStay && examined.was_running) {
      // It was paused before the handover, unless that has failed: so it does not run by itself.
      LAMINA_ASSIGN_OR_RETURN(const vmm::VmInfo info, vmm.info());
      if (info.state == vmm::VmState::kPaused && vmm.resume().status()) return {};
      // The handover may be ending still.
    }
    return wait_for_return(vmm, examined.was_running);
  }

  /// Nothing was captured. The handover has ended, so the VM goes on as it was.
  std::unexpected<Error> give_up(ClaimedCloudHypervisor& claimed, const ExaminedGuest& examined,
                                 PreparedPause& prepared, Error cause) {
    interruption_.ignore();
    // Nothing that is stored is corrupt: it is what the process has sent.
    if (cause.kind == ErrorKind::kCorrupt) cause.kind = ErrorKind::kFailed;
    prepared.spare.release();
    const bool has_ended = os::has_ended(claimed.vmm.pidfd());
    const Status returned = has_ended ? Status() : return_as_it_was(claimed.vmm, examined);
    if (!returned && !os::has_ended(claimed.vmm.pidfd())) {
      cause.message += fmt::format("; the VM may stay paused: {}", one_line(returned.error()));
      return with_remedy(std::unexpected(std::move(cause)),
                         "its next pause lets it run, or run: lamina recover {}",
                         claimed.store->path());
    }
    const Status removed = prepared.pending.remove_files();
    const Status ended = removed ? prepared.pending.end() : removed;
    if (!ended) {
      cause.message +=
          fmt::format("; what was written could not be removed: {}", one_line(ended.error()));
    }
    return std::unexpected(std::move(cause));
  }

  /// The VM still has all that was captured. The journal may say that it was acknowledged; it is
  /// removed last.
  static Status discarded(PendingPause& pending, Error error) {
    if (pending.remove_files()) static_cast<void>(pending.end());
    return std::unexpected(std::move(error));
  }

  [[nodiscard]] Status queued(const PendingPause& pending, const Error& error) const {
    return with_remedy(std::unexpected(with_context(
                           fmt::format("pause {} is acknowledged and queued, not yet a snapshot",
                                       pending.journal().pause_id.to_string()),
                           error)),
                       "the VM's next pause tries again, or run: lamina recover {}",
                       options_.store);
  }

  const PauseOptions& options_;
  const WhenReadable& when_readable_;
  Interruption& interruption_;
  PauseReport report_;
  Stopwatch watch_;
  store::SpareStorage spare_;
  std::shared_ptr<const store::Store> store_;
};

}  // namespace

Result<PauseReport> pause_cloud_hypervisor(const PauseOptions& options,
                                           const WhenReadable& when_readable,
                                           ClaimedCloudHypervisor claimed,
                                           Interruption& interruption,
                                           std::vector<std::string> notes) {
  return CloudHypervisorPause(options, when_readable, interruption, std::move(notes))
      .run(std::move(claimed));
}

}  // namespace lamina::lifecycle
