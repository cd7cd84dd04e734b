// Pausing a VM into a store. The order is what keeps the promises:
//
//   look       who the VM is, what its base is, whether a diff of it can be trusted
//   prepare    directory, reserved space, journal: on the disk before anything is asked
//   freeze     Firecracker pauses the VM, then writes its files
//   record     its answer goes into the journal, synced: from here on the file is never dropped
//   thaw       hook, attached files; then a checkpoint's VM runs on
//   finish     scan, checksums, header; the pin moves on; publish (lifecycle/finish.h)
//   after      what was to become of the VM
//
// Whatever fails before the record leaves the older state valid, the VM as it was, and a note in
// the pin that the dirty bits may be gone. Whatever fails after it leaves the pause queued.
#include <fcntl.h>

#include <memory>
#include <optional>
#include <set>
#include <utility>

#include "base/block.h"
#include "base/contain.h"
#include "base/error.h"
#include "lamina/lifecycle.h"
#include "lifecycle/finish.h"
#include "lifecycle/hook.h"
#include "lifecycle/interruption.h"
#include "lifecycle/jail.h"
#include "lifecycle/last_create.h"
#include "lifecycle/page_server_process.h"
#include "lifecycle/pending_pause.h"
#include "lifecycle/stopwatch.h"
#include "lifecycle/visibility.h"
#include "lifecycle/vm.h"
#include "os/directory.h"
#include "os/file.h"
#include "os/hole_probe.h"
#include "os/machine.h"
#include "os/path_walk.h"
#include "os/process.h"
#include "os/range_copy.h"
#include "store/name.h"
#include "store/open_store.h"
#include "store/pin.h"
#include "store/snapshot_link.h"
#include "store/store.h"
#include "vmm/firecracker/client.h"
#include "vmm/firecracker/version.h"

namespace lamina {
namespace {

using lifecycle::PendingPause;
using store::OpenSnapshot;
using store::PauseJournal;
using store::Pin;
using store::Store;
using vmm::Firecracker;

constexpr std::uint64_t kBytesPerMib = std::uint64_t{1} << 20;
/// Up to here x86 guests have one region of memory; older Firecrackers write wrong diffs of two.
constexpr std::uint64_t kMaxSingleRegionBytes = std::uint64_t{3} << 30;

class Pause {
 public:
  explicit Pause(const PauseOptions& options)
      : options_(options), interruption_(options.progress) {}

  Result<PauseReport> run() {
    const Status done = work();
    // Nobody waits for the VM, its pin or the pause any more.
    pending_.reset();
    pin_.reset();
    spare_.give_back(report_.snapshot, report_.notes);
    return report_or_error(done, report_);
  }

 private:
  Status work() {
    LAMINA_ASSIGN_OR_RETURN(const store::SnapshotPath target,
                            store::snapshot_in(options_.store, options_.name));
    report_.snapshot = target.path;
    LAMINA_RETURN_IF_ERROR(check_attachments());
    LAMINA_ASSIGN_OR_RETURN(lifecycle::Jail jail, lifecycle::Jail::open(options_.vmm.jail));
    jail_.emplace(std::move(jail));
    LAMINA_ASSIGN_OR_RETURN(Firecracker firecracker,
                            lifecycle::reach(options_.vmm, &interruption_));
    vmm_.emplace(std::move(firecracker));
    LAMINA_ASSIGN_OR_RETURN(Store store, store::open_store(options_.store, report_.notes));
    store_.emplace(std::move(store));
    if (!jail_->is_apart()) {
      // Firecracker is told it, and takes UTF-8 only.
      LAMINA_ASSIGN_OR_RETURN(const std::string path, lifecycle::recorded_path(store_->path()));
      LAMINA_RETURN_IF_ERROR(lifecycle::check_finds_store(vmm_->pid(), path));
    }
    LAMINA_ASSIGN_OR_RETURN(Pin pin, Pin::claim(*store_, vmm_->pid(), vmm_->start_time()));
    pin_.emplace(std::move(pin));
    const Status paused = pause_claimed();
    // A pin that nothing was put into is of no use to anybody.
    if (!paused && !pin_->facts() && !pin_->has_base()) static_cast<void>(pin_->release());
    return paused;
  }

  Status pause_claimed() {
    LAMINA_RETURN_IF_ERROR(lifecycle::settle_queue(*store_, *pin_, *vmm_, report_.notes));
    LAMINA_RETURN_IF_ERROR(lifecycle::lock_vm(*vmm_));
    LAMINA_RETURN_IF_ERROR(look());
    LAMINA_RETURN_IF_ERROR(choose_kind());
    LAMINA_RETURN_IF_ERROR(check_target());
    LAMINA_RETURN_IF_ERROR(prepare());
    const Status captured = contain("pause", [&] { return capture(); });
    if (!captured && in_create_) return give_up(captured.error());
    LAMINA_RETURN_IF_ERROR(captured);
    lifecycle::unlock_vm(*vmm_);
    return finish();
  }

  [[nodiscard]] Status check_attachments() const {
    std::set<std::string> names;
    for (const std::string& file : options_.attachments) {
      const std::string name = file.substr(file.rfind('/') + 1);
      if (name.empty() || store::is_reserved_name(name)) {
        return fail(ErrorKind::kUsage,
                    "'{}' cannot be attached: '{}' is no name that a file beside a snapshot's own "
                    "can have",
                    file, name);
      }
      if (!names.insert(name).second) {
        return fail(ErrorKind::kUsage, "two attached files are called '{}'", name);
      }
      LAMINA_RETURN_IF_ERROR(os::open_regular(AT_FDCWD, file, O_RDONLY, file));
    }
    return {};
  }

  Status look() {
    LAMINA_ASSIGN_OR_RETURN(instance_, vmm_->describe());
    if (instance_.state == vmm::VmState::kNotStarted) {
      return fail(ErrorKind::kFailed, "the Firecracker at '{}' has no VM that could be paused",
                  options_.vmm.api_socket);
    }
    LAMINA_RETURN_IF_ERROR(vmm::require_supported(instance_.version));
    LAMINA_ASSIGN_OR_RETURN(machine_, vmm_->machine_config());
    if (vmm::has_feature(instance_.version, vmm::Feature::kHotplugMemory)) {
      LAMINA_ASSIGN_OR_RETURN(hotplug_mib_, vmm_->hotplug_memory_mib());
    }
    memory_bytes_ = (machine_.memory_mib + hotplug_mib_) * kBytesPerMib;
    LAMINA_ASSIGN_OR_RETURN(lifecycle::LastCreate last_create, lifecycle::LastCreate::of(*vmm_));
    last_create_.emplace(last_create);
    auto base = lifecycle::open_base(*store_, *pin_);
    if (base) {
      base_ = std::move(*base);
    } else {
      base_error_ = base.error().message;
    }
    return {};
  }

  /// A diff only where it is one (design rules 2, 8, 9), and why.
  Status choose_kind() {
    report_.reason = why_full();
    report_.is_diff = report_.reason.empty();
    if (!report_.is_diff) return {};
    LAMINA_ASSIGN_OR_RETURN(const std::string obstacle, distrust_holes());
    if (!obstacle.empty()) {
      report_.is_diff = false;
      report_.reason = obstacle;
      return {};
    }
    report_.reason = fmt::format("of what changed since pause {}", base_->pause_id.to_string());
    return {};
  }

  [[nodiscard]] std::string why_full() const {
    if (options_.full) return "asked for";
    if (!base_error_.empty()) {
      return fmt::format("what the VM's changes count from cannot be read: {}", base_error_);
    }
    if (!base_ || !pin_->facts()) return "the VM's first pause here";
    if (pin_->facts()->needs_full) {
      return "an earlier memory file was not acknowledged, so the dirty bits may be gone";
    }
    if (std::string why = last_create_->why_not(base_->pause_id); !why.empty()) return why;
    if (!machine_.track_dirty_pages)
      return "track_dirty_pages is off in the machine's configuration";
    if (base_->header.memory_bytes != memory_bytes_) {
      return fmt::format("the VM has {} bytes of memory now, its base {}", memory_bytes_,
                         base_->header.memory_bytes);
    }
    const auto version = vmm::parse_version(instance_.version);
    // Hotpluggable memory is a region of its own.
    if ((memory_bytes_ > kMaxSingleRegionBytes || hotplug_mib_ > 0) &&
        (!version || !vmm::writes_correct_large_diffs(*version))) {
      return fmt::format(
          "Firecracker {} writes wrong diffs of more than 3 GiB or of hotpluggable memory",
          instance_.version);
    }
    return {};
  }

  /// Tries where the VMM will write whether a hole is a hole.
  Result<std::string> distrust_holes() {
    const std::string& store = options_.store;
    // Where what a power failure leaves of it is removed.
    LAMINA_ASSIGN_OR_RETURN(probe_,
                            os::probe_holes(store_->temporary_area(), memory_bytes_, store));
    if (!probe_.is_exact) return obstacle_of(probe_, store);
    if (!jail_->is_apart()) return std::string();
    // From the jail it comes into the store, by a rename or a copy: holes must be exact in both.
    const std::string& root = jail_->root();
    LAMINA_ASSIGN_OR_RETURN(const os::Fd fd, os::open_directory(AT_FDCWD, root, root));
    LAMINA_ASSIGN_OR_RETURN(probe_, os::probe_holes(fd.get(), memory_bytes_, root));
    return probe_.is_exact ? std::string() : obstacle_of(probe_, root);
  }

  static std::string obstacle_of(const os::HoleProbe& probe, const std::string& place) {
    return fmt::format("holes in '{}' cannot be trusted: {}", place, probe.explanation);
  }

  /// Early, so that nobody freezes a VM for nothing; publishing looks again.
  [[nodiscard]] Status check_target() const {
    if (!os::name_exists(store_->fd(), options_.name)) return {};
    if (os::is_symbolic_link(store_->fd(), options_.name)) {
      return fail(ErrorKind::kFailed,
                  "'{}' is a symbolic link and cannot be written through; choose another name",
                  report_.snapshot);
    }
    const auto existing = store::open_snapshot(report_.snapshot, engine::Checksums::kSkip);
    if (!existing && existing.error().kind == ErrorKind::kNotFound &&
        !os::name_exists(store_->fd(), options_.name)) {
      return {};
    }
    if (existing && base_ && existing->pause_id == base_->pause_id) return {};
    if (options_.replace && existing) return {};
    if (!existing) return std::unexpected(existing.error());
    return fail(ErrorKind::kFailed,
                "'{}' is a snapshot that this VM does not descend from; choose another name, or "
                "give --replace to replace it",
                report_.snapshot);
  }

  Status prepare() {
    if (!pin_->facts()) {
      LAMINA_ASSIGN_OR_RETURN(const store::PinFacts facts,
                              lifecycle::describe_vm(*vmm_, options_.vmm));
      LAMINA_RETURN_IF_ERROR(pin_->write_facts(facts));
    }
    journal_.pause_id = Uuid::random();
    journal_.build_id = Uuid::random();
    journal_.name = options_.name;
    journal_.replace = options_.replace;
    journal_.kind = report_.is_diff ? MemoryFileKind::kDiff : MemoryFileKind::kFull;
    journal_.compare = pin_->facts()->by_page_faults;
    if (base_) {
      journal_.parent_pause_id = base_->pause_id;
      journal_.parent = pin_->facts()->snapshot;
    }
    journal_.vm = pin_->name();
    LAMINA_ASSIGN_OR_RETURN(journal_.api_socket, lifecycle::recorded_path(options_.vmm.api_socket));
    journal_.after = options_.after;
    journal_.was_running = instance_.state == vmm::VmState::kRunning;
    journal_.created = store::timestamp_now();
    journal_.origin = lifecycle::origin_here(instance_.version);
    journal_.origin.huge_pages = machine_.huge_pages;
    journal_.lacks_files = !options_.frozen_hook.empty() || !options_.attachments.empty();
    report_.pause_id = journal_.pause_id;
    report_.parent_pause_id = journal_.parent_pause_id;

    LAMINA_RETURN_IF_ERROR(check_space());
    if (interruption_.interrupted()) return fail(ErrorKind::kInterrupted, "interrupted");
    if (jail_->is_apart()) journal_.jail_directory.path = jail_->directory_of(journal_.pause_id);
    auto pending = PendingPause::begin(*store_, journal_, memory_bytes_,
                                       base_ ? base_->header.mapping.extent_count() : 0);
    if (!pending) {
      return std::unexpected(
          with_context("the pause needs space beyond the memory file", pending.error()));
    }
    pending_.emplace(std::move(*pending));
    if (jail_->is_apart()) LAMINA_RETURN_IF_ERROR(make_directory_in_jail());
    directory_ = jail_->is_apart() ? journal_.jail_directory.path : pending_->path();
    LAMINA_ASSIGN_OR_RETURN(directory_, os::real_path(directory_));
    const Status found =
        lifecycle::check_finds(vmm_->pid(), {directory_, jail_->inside(directory_)});
    if (!found && pending_->remove_files()) static_cast<void>(pending_->end());
    return found;
  }

  Status make_directory_in_jail() {
    const Status made = [&]() -> Status {
      LAMINA_ASSIGN_OR_RETURN(journal_.jail_directory,
                              jail_->make_directory(journal_.pause_id, {vmm_->uid(), vmm_->gid()}));
      return pending_->note_jail_directory(journal_.jail_directory.inode);
    }();
    if (!made && pending_->remove_files()) static_cast<void>(pending_->end());
    return made;
  }

  /// A full memory file is as large as the memory, holes in it or not. How large a diff will be,
  /// nobody knows before it is written: what it needs besides is reserved.
  [[nodiscard]] Status check_space() const {
    const std::string place = jail_->is_apart() ? jail_->root() : options_.store;
    if (!report_.is_diff) LAMINA_RETURN_IF_ERROR(need_space(place));
    if (!jail_->is_apart()) return {};
    // From another file system the memory file is copied; a diff may be as large as all of memory.
    LAMINA_ASSIGN_OR_RETURN(const os::Fd root, os::open_directory(AT_FDCWD, place, place));
    LAMINA_ASSIGN_OR_RETURN(const os::FileFacts jail, os::facts_of(root.get(), place));
    LAMINA_ASSIGN_OR_RETURN(const os::FileFacts store, os::facts_of(store_->fd(), options_.store));
    if (jail.device == store.device) return {};
    return need_space(options_.store);
  }

  [[nodiscard]] Status need_space(const std::string& place) const {
    LAMINA_ASSIGN_OR_RETURN(const std::uint64_t free, os::free_bytes(place));
    if (free >= memory_bytes_) return {};
    return fail(ErrorKind::kNoSpace,
                "the memory file may need {} bytes, and '{}' has {} left; the VM is not touched",
                memory_bytes_, place, free);
  }

  /// From running to frozen to recorded to running. The VM is frozen for as short as it can be.
  Status capture() {
    report_.phases.prepare = watch_.lap();
    lifecycle::Stopwatch frozen;
    // Firecracker reads all of the memory, and a vCPU that waits for a page cannot be paused.
    if (pin_->facts()->by_page_faults) {
      auto served =
          lifecycle::PageServerWatch::start(*store_, options_.page_server_command, vmm_->pid());
      if (!served) return give_up(served.error());
      served_ = std::move(*served);
    }
    in_create_ = true;
    if (journal_.was_running) {
      const vmm::Reply paused = vmm_->pause();
      if (!paused.status()) return give_up(paused.status().error());
    }
    report_.phases.pause = watch_.lap();
    vmm::CreateRequest create;
    create.type = report_.is_diff ? vmm::SnapshotType::kDiff : vmm::SnapshotType::kFull;
    create.state_path = jail_->inside(directory_ + "/" + store::kVmstateName);
    create.memory_path = jail_->inside(directory_ + "/" + pending_->layer_name());
    // From here on all goes on to its end.
    interruption_.ignore();
    const Status announced = last_create_->ask(journal_.pause_id);
    if (!announced) return give_up(announced.error());
    const vmm::Reply created = vmm_->create(create, served_.get());
    report_.phases.create = watch_.lap();
    if (!created.status()) return give_up(why_not_created(created.status().error()));
    const Status recorded = acknowledge();
    report_.phases.journal = watch_.lap();
    if (!recorded) return give_up(recorded.error());
    in_create_ = false;
    captured_ = contain("pause", [&] { return capture_files(); });
    report_.phases.hook = watch_.lap();
    if (options_.after == AfterPause::kResume) {
      resumed_ = contain("resume", [&]() -> Status { return vmm_->resume().status(); });
      report_.phases.resume = watch_.lap();
      report_.phases.frozen = frozen.lap();
    }
    return {};
  }

  [[nodiscard]] Error why_not_created(const Error& error) const {
    const std::optional<Error> unserved = served_ ? served_->failure() : std::nullopt;
    if (error.kind != ErrorKind::kInterrupted || !unserved) return error;
    return {ErrorKind::kFailed,
            fmt::format("the VM waits for its memory, and no page server can be had: {}",
                        unserved->message)};
  }

  Status acknowledge() {
    LAMINA_RETURN_IF_ERROR(last_create_->check_alone());
    os::Fd directory;
    if (jail_->is_apart()) {
      LAMINA_ASSIGN_OR_RETURN(auto opened, store::open_jail_directory(journal_.jail_directory));
      directory = std::move(opened.directory);
    } else {
      LAMINA_ASSIGN_OR_RETURN(directory, os::duplicate(pending_->directory(), directory_));
    }
    const std::string path = directory_ + "/" + pending_->layer_name();
    LAMINA_ASSIGN_OR_RETURN(
        const os::OpenedFile memory,
        os::open_regular(directory.get(), pending_->layer_name(), O_RDONLY | O_NOFOLLOW, path));
    LAMINA_RETURN_IF_ERROR(os::open_regular(directory.get(), store::kVmstateName,
                                            O_RDONLY | O_NOFOLLOW,
                                            directory_ + "/" + store::kVmstateName));
    // A machine has as much memory as its configuration says. A file of another size is not its
    // memory; and whatever is kept for such a snapshot later would go by that size.
    if (memory.facts.size_bytes != memory_bytes_) {
      return fail(ErrorKind::kFailed,
                  "Firecracker wrote a memory file of {} bytes for a machine of {} bytes",
                  memory.facts.size_bytes, memory_bytes_);
    }
    if (report_.is_diff && memory.facts.size_bytes != base_->header.memory_bytes) {
      return fail(ErrorKind::kFailed, "Firecracker wrote a diff of {} bytes to a base of {}",
                  memory.facts.size_bytes, base_->header.memory_bytes);
    }
    if (report_.is_diff && !probe_.applies_to(memory.facts)) {
      return fail(ErrorKind::kFailed,
                  "'{}' is not in the file system that holes were tried out in, so they cannot be "
                  "trusted",
                  path);
    }
    if (report_.is_diff && !probe_.distinguishes_preallocated) {
      LAMINA_RETURN_IF_ERROR(pending_->record_written(memory.fd.get(), memory.facts.size_bytes));
    }
    // Firecracker has synced the files; their names are ours to sync.
    LAMINA_RETURN_IF_ERROR(os::sync(directory.get(), directory_));
    return pending_->acknowledge(memory.facts.size_bytes);
  }

  /// Nothing was acknowledged, or cannot be put on record: the VM goes on as it was.
  Status give_up(const Error& cause) {
    in_create_ = false;
    interruption_.ignore();
    Error error = cause;
    const auto also = [&](const char* what, const Status& done) {
      if (!done) error.message += fmt::format("; {}: {}", what, done.error().message);
    };
    const Status thawed = thaw_if_it_ran();
    if (!thawed && !os::has_ended(vmm_->pidfd())) {
      error.message += fmt::format(
          "; the VM may stay paused: {}; its next pause, or lamina recover {}, lets it run",
          thawed.error().message, options_.store);
      return std::unexpected(std::move(error));
    }
    also("what was written could not be removed", lifecycle::give_up_pause(*pending_, *pin_));
    return std::unexpected(std::move(error));
  }

  Status thaw_if_it_ran() {
    if (journal_.was_running) return thaw();
    LAMINA_RETURN_IF_ERROR(vmm_->describe());
    return {};
  }

  /// Whether a create still runs that has not answered is known when the question is answered.
  Status thaw() {
    LAMINA_ASSIGN_OR_RETURN(const vmm::InstanceInfo instance, vmm_->describe());
    if (instance.state != vmm::VmState::kPaused) return {};
    return vmm_->resume().status();
  }

  Status capture_files() {
    if (!journal_.lacks_files) return {};
    if (!options_.frozen_hook.empty()) {
      LAMINA_RETURN_IF_ERROR(
          lifecycle::run_hook(options_.frozen_hook,
                              {{"LAMINA_STORE", options_.store},
                               {"LAMINA_NAME", options_.name},
                               {"LAMINA_PAUSE_ID", journal_.pause_id.to_string()},
                               {"LAMINA_API_SOCKET", options_.vmm.api_socket}},
                              options_.hook_timeout));
    }
    for (const std::string& file : options_.attachments) {
      const std::string name = file.substr(file.rfind('/') + 1);
      const std::string path = pending_->path() + "/" + name;
      LAMINA_ASSIGN_OR_RETURN(const os::OpenedFile from,
                              os::open_regular(AT_FDCWD, file, O_RDONLY, file));
      LAMINA_RETURN_IF_ERROR(os::copy_to_new_file(from.fd.get(), from.facts.size_bytes, file,
                                                  pending_->directory(), name, path));
      attached_.push_back(name);
    }
    return {};
  }

  /// The VM runs on, or waits; nobody is in a hurry any more.
  Status finish() {
    if (journal_.lacks_files && captured_) {
      captured_ = sync_attachments();
      if (captured_) {
        store::PauseJournal journal = pending_->journal();
        journal.lacks_files = false;
        LAMINA_RETURN_IF_ERROR(queued(pending_->write_journal(journal)));
      }
    }
    auto finished = contain(
        "pause", [&] { return lifecycle::finish_pause(*store_, *pending_, *pin_, report_.notes); });
    if (!finished) return queued(std::unexpected(finished.error()));
    report_.snapshot = options_.store + "/" + finished->name;
    report_.generation = finished->generation;
    report_.memory_bytes = finished->memory_bytes;
    report_.stored_bytes = finished->found.stored_blocks * kBlockBytes;
    report_.unchanged_bytes = finished->found.unchanged_blocks * kBlockBytes;
    spare_ = std::move(finished->found.spare);
    report_.phases.complete = finished->complete_ms;
    report_.phases.publish = finished->publish_ms;
    if (options_.after == AfterPause::kStop && captured_) {
      LAMINA_RETURN_IF_ERROR(lifecycle::stop_vm(*vmm_, *pin_, report_.notes));
    }
    // A VM that should run and does not is something to be put right: the journal stays.
    if (!resumed_ && !os::has_ended(vmm_->pidfd())) resumed_ = thaw();
    if (resumed_ || os::has_ended(vmm_->pidfd())) LAMINA_RETURN_IF_ERROR(pending_->end());
    if (!captured_) {
      return std::unexpected(with_context(
          fmt::format("the state is kept as '{}', without what belongs to it; the VM {}",
                      report_.snapshot,
                      options_.after == AfterPause::kResume ? "runs on" : "stays paused"),
          captured_.error()));
    }
    if (!resumed_) {
      return std::unexpected(
          with_context(fmt::format("'{}' is published, but the VM stays paused; its next pause, or "
                                   "lamina recover {}, lets it run",
                                   report_.snapshot, options_.store),
                       resumed_.error()));
    }
    return {};
  }

  [[nodiscard]] Status sync_attachments() const {
    for (const std::string& name : attached_) {
      const std::string path = pending_->path() + "/" + name;
      LAMINA_ASSIGN_OR_RETURN(const os::Fd fd,
                              os::open_at(pending_->directory(), name, O_RDONLY, path));
      LAMINA_RETURN_IF_ERROR(os::sync(fd.get(), path));
    }
    return {};
  }

  /// What cannot be finished now is not lost: its journal stands.
  [[nodiscard]] Status queued(const Status& done) const {
    if (done) return {};
    return std::unexpected(with_context(
        fmt::format("pause {} is acknowledged and queued, not yet a snapshot; the VM's next pause, "
                    "or lamina recover {}, tries again",
                    journal_.pause_id.to_string(), options_.store),
        done.error()));
  }

  const PauseOptions& options_;
  lifecycle::Interruption interruption_;
  PauseReport report_;
  lifecycle::Stopwatch watch_;
  std::optional<lifecycle::Jail> jail_;
  std::optional<Firecracker> vmm_;
  std::optional<Store> store_;
  std::optional<Pin> pin_;
  std::optional<PendingPause> pending_;
  std::optional<OpenSnapshot> base_;
  std::string base_error_;
  os::HoleProbe probe_;  ///< of where the VMM writes a diff
  vmm::InstanceInfo instance_;
  vmm::MachineConfig machine_;
  std::uint64_t hotplug_mib_ = 0;  ///< of memory that can be plugged, which is in the memory file
  std::optional<lifecycle::LastCreate> last_create_;
  std::uint64_t memory_bytes_ = 0;
  store::PauseJournal journal_;
  bool in_create_ = false;  ///< it is not known yet what becomes of the create
  std::string directory_;   ///< where the VMM writes, absolute
  std::vector<std::string> attached_;
  store::SpareStorage spare_;
  std::unique_ptr<lifecycle::PageServerWatch> served_;  ///< while a VM by page faults is captured
  Status captured_;
  Status resumed_;
};

}  // namespace

Result<PauseReport> pause(const PauseOptions& options) {
  return contain("pause", [&] { return Pause(options).run(); });
}

}  // namespace lamina
