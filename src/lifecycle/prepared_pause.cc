#include "lifecycle/prepared_pause.h"

#include <fcntl.h>

#include <algorithm>
#include <set>
#include <utility>

#include "base/error.h"
#include "lifecycle/freeze_memory.h"
#include "lifecycle/maps.h"
#include "lifecycle/visibility.h"
#include "lifecycle/vm.h"
#include "os/directory.h"
#include "os/file.h"
#include "os/machine.h"
#include "os/path_walk.h"
#include "store/ancestors.h"
#include "store/pending_area.h"
#include "store/snapshot_link.h"

namespace lamina::lifecycle {
namespace {

Status need_space(const std::string& place, std::uint64_t memory_bytes) {
  LAMINA_ASSIGN_OR_RETURN(const std::uint64_t free, os::free_bytes(place));
  if (free >= memory_bytes) return {};
  return fail(ErrorKind::kNoSpace,
              "the memory file may need {} bytes, and '{}' has {} left; the VM is not touched",
              memory_bytes, place, free);
}

/// A full memory file is as large as the memory, holes in it or not. How large a diff will be, is
/// not known before it is written: what it needs besides is reserved.
Status check_space(const ClaimedVm& claimed, std::uint64_t memory_bytes, bool is_diff) {
  const store::Store& store = *claimed.store;
  const std::string place = claimed.jail.is_apart() ? claimed.jail.root() : store.path();
  if (!is_diff) LAMINA_RETURN_IF_ERROR(need_space(place, memory_bytes));
  if (!claimed.jail.is_apart()) return {};
  // From another file system the memory file is copied; a diff may be as large as all of memory.
  LAMINA_ASSIGN_OR_RETURN(const os::Fd root, os::open_directory(AT_FDCWD, place, place));
  LAMINA_ASSIGN_OR_RETURN(const os::FileFacts jail, os::facts_of(root.get(), place));
  LAMINA_ASSIGN_OR_RETURN(const os::FileFacts of_store, os::facts_of(store.fd(), store.path()));
  if (jail.device == of_store.device) return {};
  return need_space(store.path(), memory_bytes);
}

Result<store::PauseJournal> journal_of(const ClaimedVm& claimed, const ExaminedVm& examined,
                                       const MemoryFileChoice& choice,
                                       const PauseOptions& options) {
  const store::PinFacts& facts = *claimed.pin.facts();
  store::PauseJournal journal;
  journal.pause_id = options.pause_id.value_or(Uuid::random());
  journal.build_id = Uuid::random();
  journal.name = options.name;
  journal.replace = options.replace;
  journal.kind = choice.is_diff ? MemoryFileKind::kDiff : MemoryFileKind::kFull;
  journal.reason = choice.reason;
  journal.compare = facts.by_page_faults;
  if (examined.base) {
    journal.parent_pause_id = examined.base->pause_id;
    journal.ancestors = store::ancestors_of_child(examined.base->pause_id, examined.base->facts,
                                                  claimed.store->path());
    journal.parent = facts.snapshot;
  }
  journal.vm = claimed.pin.name();
  LAMINA_ASSIGN_OR_RETURN(journal.api_socket, recorded_path(options.vmm.api_socket));
  journal.after = options.after;
  journal.was_running = examined.instance.state == vmm::VmState::kRunning;
  journal.created = store::timestamp_now();
  journal.origin = origin_here(examined.instance.version);
  journal.origin.huge_pages = examined.machine.huge_pages;
  journal.once = options.once;
  journal.lacks_files = !options.frozen_hook.empty() || options.while_frozen != nullptr ||
                        !options.attachments.empty();
  if (claimed.jail.is_apart()) {
    journal.jail_directory.path = claimed.jail.directory_of(journal.pause_id);
  }
  return journal;
}

/// Where the VMM is to write, and finds it.
Result<std::string> make_directory(const ClaimedVm& claimed, PendingPause& pending) {
  if (pending.is_in_memory()) return pending.journal().freeze_directory.path;
  std::string directory = pending.path();
  if (claimed.jail.is_apart()) {
    LAMINA_ASSIGN_OR_RETURN(const store::JailDirectory made,
                            claimed.jail.make_directory(pending.journal().pause_id,
                                                        {claimed.vmm.uid(), claimed.vmm.gid()}));
    LAMINA_RETURN_IF_ERROR(pending.note_jail_directory(made.inode));
    directory = made.path;
  }
  LAMINA_ASSIGN_OR_RETURN(directory, os::real_path(directory));
  LAMINA_RETURN_IF_ERROR(
      check_finds(claimed.vmm.pid(), {directory, claimed.jail.inside(directory)}));
  return directory;
}

}  // namespace

Status check_pause_options(const PauseOptions& options) {
  if (options.pause_id && options.pause_id->is_nil()) {
    return fail(ErrorKind::kUsage, "the nil UUID cannot be a pause id");
  }
  std::set<std::string> names;
  for (const std::string& file : options.attachments) {
    const std::string name = file.substr(file.rfind('/') + 1);
    if (name.empty() || store::is_reserved_name(name)) {
      return fail(ErrorKind::kUsage,
                  "'{}' cannot be attached: '{}' is the name of a file of the snapshot's own", file,
                  name);
    }
    if (!names.insert(name).second) {
      return fail(ErrorKind::kUsage, "two attached files are called '{}'", name);
    }
    LAMINA_RETURN_IF_ERROR(os::open_regular(AT_FDCWD, file, O_RDONLY, file));
  }
  return {};
}

Status check_pause_id(const store::Store& store, const PauseOptions& options) {
  if (!options.pause_id) return {};
  const std::string id = options.pause_id->to_string();
  if (!os::name_exists(store.pending_area(), id) &&
      !os::name_exists(store.pending_area(), store::journal_name(id)) &&
      // A resume would take the memory of the earlier pause, which may have been discarded.
      !has_map(store, *options.pause_id)) {
    return {};
  }
  return with_remedy(
      fail(ErrorKind::kExists, "pause {} is in store '{}' already", id, store.path()),
      "choose another `pause_id`");
}

Status check_target(const store::Store& store, const std::vector<Uuid>& descends_from,
                    const PauseOptions& options) {
  if (!os::name_exists(store.fd(), options.name)) return {};
  const std::string path = store.path() + "/" + options.name;
  if (os::is_symbolic_link(store.fd(), options.name)) {
    return with_remedy(
        fail(ErrorKind::kExists, "'{}' is a symbolic link and cannot be written through", path),
        "choose another name");
  }
  const auto existing = store::identify_snapshot(path);
  if (!existing && existing.error().kind == ErrorKind::kNotFound &&
      !os::name_exists(store.fd(), options.name)) {
    return {};
  }
  if (!existing) return std::unexpected(existing.error());
  const bool is_descendant = std::find(descends_from.begin(), descends_from.end(),
                                       existing->pause_id) != descends_from.end();
  if (is_descendant || options.replace) return {};
  return with_remedy(
      fail(ErrorKind::kExists, "'{}' is a snapshot that this VM does not descend from", path),
      "choose another name, or set `replace`");
}

Result<PreparedPause> prepare_pause(ClaimedVm& claimed, const ExaminedVm& examined,
                                    const MemoryFileChoice& choice, const PauseOptions& options,
                                    Progress& progress) {
  if (!claimed.pin.facts()) {
    LAMINA_ASSIGN_OR_RETURN(const store::PinFacts facts, describe_vm(claimed.vmm, options.vmm));
    LAMINA_RETURN_IF_ERROR(claimed.pin.write_facts(facts));
  }
  LAMINA_ASSIGN_OR_RETURN(store::PauseJournal journal,
                          journal_of(claimed, examined, choice, options));
  LAMINA_RETURN_IF_ERROR(check_pause_id(*claimed.store, options));
  LAMINA_RETURN_IF_ERROR(check_space(claimed, examined.memory_bytes, choice.is_diff));
  if (progress.interrupted()) return fail(ErrorKind::kInterrupted, "interrupted");
  LAMINA_ASSIGN_OR_RETURN(os::SpareDescriptors spare,
                          os::SpareDescriptors::take(kDescriptorsToThaw));
  FreezeChoice place = choose_freeze_memory(claimed, examined, choice, options, journal.pause_id);
  os::LockedFd freeze;
  if (place.memory) {
    journal.freeze_directory = place.memory->record;
    freeze = std::move(place.memory->directory);
  }
  auto pending = PendingPause::begin(
      *claimed.store, journal, examined.memory_bytes,
      examined.base ? examined.base->header.mapping.extent_count() : 0, std::move(freeze));
  if (!pending) {
    return std::unexpected(
        with_context("the pause needs space beyond the memory file", pending.error()));
  }
  auto directory = make_directory(claimed, *pending);
  if (!directory) {
    if (pending->remove_files()) static_cast<void>(pending->end());
    return std::unexpected(directory.error());
  }
  return PreparedPause{std::move(*pending), std::move(*directory),
                       place.memory ? place.memory->probe : choice.probe, std::move(place.reason),
                       std::move(spare)};
}

}  // namespace lamina::lifecycle
