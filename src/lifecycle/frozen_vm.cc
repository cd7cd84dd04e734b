#include "lifecycle/frozen_vm.h"

#include <fcntl.h>

#include <optional>
#include <utility>

#include "base/contain.h"
#include "base/error.h"
#include "lifecycle/finish.h"
#include "lifecycle/hook.h"
#include "os/file.h"
#include "os/process.h"
#include "os/range_copy.h"
#include "store/jail_directory.h"
#include "store/snapshot_directory.h"

namespace lamina::lifecycle {
namespace {

Error why_not_created(const Error& error, const PageServerWatch* page_server) {
  const std::optional<Error> unserved =
      page_server != nullptr ? page_server->failure() : std::nullopt;
  if (error.kind != ErrorKind::kInterrupted || !unserved) return error;
  return {ErrorKind::kFailed,
          fmt::format("the VM waits for its memory, and no page server can be had: {}",
                      unserved->message),
          {},
          unserved->error_number,
          unserved->remedy};
}

/// The directory that the VMM has written to. What is in a jail is known by its inode.
Result<os::Fd> open_written(const ClaimedVm& claimed, const PreparedPause& prepared) {
  if (prepared.pending.is_in_memory()) {
    return os::duplicate(prepared.pending.freeze_directory(), prepared.directory);
  }
  if (!claimed.jail.is_apart()) {
    return os::duplicate(prepared.pending.directory(), prepared.directory);
  }
  LAMINA_ASSIGN_OR_RETURN(auto opened,
                          store::open_jail_directory(prepared.journal().jail_directory));
  return std::move(opened.directory);
}

/// A machine has as much memory as its configuration says. A file of another size is not its
/// memory; and whatever is kept for such a snapshot later would go by that size.
Status check_memory_file(const os::FileFacts& file, const std::string& path,
                         const ExaminedVm& examined, const PreparedPause& prepared) {
  if (file.size_bytes != examined.memory_bytes) {
    return fail(ErrorKind::kFailed,
                "Firecracker wrote a memory file of {} bytes for a machine of {} bytes",
                file.size_bytes, examined.memory_bytes);
  }
  const bool is_diff = prepared.journal().kind == MemoryFileKind::kDiff;
  if (is_diff && !prepared.probe.applies_to(file)) {
    return fail(ErrorKind::kFailed,
                "'{}' is not in the file system that holes were tried out in, so they cannot be "
                "trusted",
                path);
  }
  return {};
}

/// Checks what was written, and puts it on record.
Status acknowledge(const ClaimedVm& claimed, ExaminedVm& examined, PreparedPause& prepared) {
  LAMINA_RETURN_IF_ERROR(examined.last_create.check_alone());
  LAMINA_ASSIGN_OR_RETURN(const os::Fd directory, open_written(claimed, prepared));
  const std::string name = prepared.pending.layer_name();
  const std::string path = prepared.directory + "/" + name;
  LAMINA_ASSIGN_OR_RETURN(const os::OpenedFile memory,
                          os::open_regular(directory.get(), name, O_RDONLY | O_NOFOLLOW, path));
  LAMINA_RETURN_IF_ERROR(os::open_regular(directory.get(), store::kVmstateName,
                                          O_RDONLY | O_NOFOLLOW,
                                          prepared.directory + "/" + store::kVmstateName));
  LAMINA_RETURN_IF_ERROR(check_memory_file(memory.facts, path, examined, prepared));
  if (prepared.pending.is_in_memory()) return prepared.pending.note_answer(memory.facts);
  const bool is_diff = prepared.journal().kind == MemoryFileKind::kDiff;
  if (is_diff && !prepared.probe.distinguishes_preallocated) {
    LAMINA_RETURN_IF_ERROR(
        prepared.pending.record_written(memory.fd.get(), memory.facts.size_bytes));
  }
  // Firecracker has synced the files; their names are ours to sync.
  LAMINA_RETURN_IF_ERROR(os::sync(directory.get(), prepared.directory));
  return prepared.pending.acknowledge(memory.facts.size_bytes);
}

Status create_memory_file(ClaimedVm& claimed, ExaminedVm& examined, const MemoryFileChoice& choice,
                          PreparedPause& prepared, Interruption& interruption,
                          PageServerWatch* page_server, Stopwatch& watch, PausePhases& phases) {
  if (prepared.journal().was_running) {
    LAMINA_RETURN_IF_ERROR(claimed.vmm.pause().status());
  }
  phases.pause_ms = watch.lap();
  vmm::CreateRequest create;
  create.type = choice.is_diff ? vmm::SnapshotType::kDiff : vmm::SnapshotType::kFull;
  create.state_path = claimed.jail.inside(prepared.directory + "/" + store::kVmstateName);
  create.memory_path =
      claimed.jail.inside(prepared.directory + "/" + prepared.pending.layer_name());
  // From here on all goes on to its end.
  interruption.ignore();
  LAMINA_RETURN_IF_ERROR(examined.last_create.ask(prepared.journal().pause_id));
  const vmm::Reply created = claimed.vmm.create(create, page_server);
  phases.create_ms = watch.lap();
  if (!created.status()) {
    return std::unexpected(why_not_created(created.status().error(), page_server));
  }
  const Status recorded = acknowledge(claimed, examined, prepared);
  phases.journal_ms = watch.lap();
  return recorded;
}

Status thaw_if_it_ran(vmm::Vmm& vmm, bool was_running) {
  if (was_running) return thaw(vmm);
  LAMINA_RETURN_IF_ERROR(vmm.describe());
  return {};
}

/// Nothing was acknowledged, or cannot be put on record: the VM goes on as it was.
std::unexpected<Error> give_up(Error cause, ClaimedVm& claimed, PreparedPause& prepared,
                               Interruption& interruption) {
  interruption.ignore();
  prepared.spare.release();
  const Status thawed = thaw_if_it_ran(claimed.vmm, prepared.journal().was_running);
  if (!thawed && !os::has_ended(claimed.vmm.pidfd())) {
    cause.message += fmt::format("; the VM may stay paused: {}", one_line(thawed.error()));
    return with_remedy(std::unexpected(std::move(cause)),
                       "its next pause lets it run, or run: lamina recover {}",
                       claimed.store->path());
  }
  const Status given_up = give_up_pause(prepared.pending, claimed.pin);
  if (!given_up) {
    cause.message +=
        fmt::format("; what was written could not be removed: {}", one_line(given_up.error()));
  }
  return std::unexpected(std::move(cause));
}

Status run_frozen_hook(const PreparedPause& prepared, const PauseOptions& options) {
  if (options.frozen_hook.empty()) return {};
  return run_hook(options.frozen_hook,
                  {{"LAMINA_STORE", options.store},
                   {"LAMINA_NAME", options.name},
                   {"LAMINA_PAUSE_ID", prepared.journal().pause_id.to_string()},
                   {"LAMINA_API_SOCKET", options.vmm.api_socket}},
                  options.hook_timeout);
}

}  // namespace

Status thaw(vmm::Vmm& vmm) {
  LAMINA_ASSIGN_OR_RETURN(const vmm::InstanceInfo instance, vmm.describe());
  if (instance.state != vmm::VmState::kPaused) return {};
  return vmm.resume().status();
}

Result<FrozenVm> capture_memory(ClaimedVm& claimed, ExaminedVm& examined,
                                const MemoryFileChoice& choice, PreparedPause& prepared,
                                const PauseOptions& options, Interruption& interruption,
                                std::unique_ptr<PageServerWatch>& page_server, Stopwatch& watch,
                                PausePhases& phases) {
  const FrozenVm frozen;
  const Status captured = contain("pause", [&]() -> Status {
    // Firecracker reads all of the memory, and a vCPU that waits for a page cannot be paused.
    if (claimed.pin.facts()->by_page_faults) {
      LAMINA_ASSIGN_OR_RETURN(
          page_server, PageServerWatch::start(*claimed.store, options.page_server_command,
                                              claimed.vmm.timeouts().request, claimed.vmm.pid()));
    }
    return create_memory_file(claimed, examined, choice, prepared, interruption, page_server.get(),
                              watch, phases);
  });
  if (!captured) return give_up(captured.error(), claimed, prepared, interruption);
  return frozen;
}

Status sync_attached(const PendingPause& pending, const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    const std::string path = pending.path() + "/" + name;
    LAMINA_ASSIGN_OR_RETURN(const os::Fd fd,
                            os::open_at(pending.directory(), name, O_RDONLY, path));
    LAMINA_RETURN_IF_ERROR(os::sync(fd.get(), path));
  }
  return {};
}

Result<std::vector<std::string>> capture_files(const PreparedPause& prepared,
                                               const PauseOptions& options) {
  LAMINA_RETURN_IF_ERROR(run_frozen_hook(prepared, options));
  if (options.while_frozen) {
    const Status called = options.while_frozen();
    // The kinds of a pause's own errors have meanings: busy is another operation on this VM.
    if (!called) return of_kind(ErrorKind::kFailed, std::unexpected(called.error()));
  }
  std::vector<std::string> attached;
  for (const std::string& file : options.attachments) {
    const std::string name = file.substr(file.rfind('/') + 1);
    LAMINA_ASSIGN_OR_RETURN(const os::OpenedFile from,
                            os::open_regular(AT_FDCWD, file, O_RDONLY, file));
    LAMINA_RETURN_IF_ERROR(os::copy_to_new_file(from.fd.get(), from.facts.size_bytes, file,
                                                prepared.pending.directory(), name,
                                                prepared.pending.path() + "/" + name));
    attached.push_back(name);
  }
  return attached;
}

}  // namespace lamina::lifecycle
