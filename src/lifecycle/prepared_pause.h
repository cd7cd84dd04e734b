// The third phase of a pause: makes the directory, reserves space and writes the journal, all on
// the disk before Firecracker is asked for anything.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "lamina/lifecycle.h"
#include "lamina/result.h"
#include "lamina/uuid.h"
#include "lifecycle/claimed_vm.h"
#include "lifecycle/memory_file_choice.h"
#include "lifecycle/pending_pause.h"
#include "os/hole_probe.h"
#include "os/spare_descriptors.h"
#include "store/pause_journal.h"
#include "store/store.h"

namespace lamina::lifecycle {

/// For a request to the VMM, and a look at its process.
inline constexpr std::size_t kDescriptorsToThaw = 4;

struct PreparedPause {
  PendingPause pending;
  /// That the VMM writes to, absolute: the pending pause's, in the jail, or on tmpfs.
  std::string directory;
  os::HoleProbe probe{};       ///< of its file system, for a diff
  std::string place_reason{};  ///< why the VMM writes there
  /// To be released before the VM is asked to run again.
  os::SpareDescriptors spare{};

  [[nodiscard]] const store::PauseJournal& journal() const { return pending.journal(); }
};

/// kUsage if the pause id is nil, two attached files have one name, or one has a name of the
/// snapshot's own.
Status check_pause_options(const PauseOptions& options);

/// Checks that the pause's name is free or may be replaced, as far as that is known before the VM
/// is frozen; publishing checks it again. kExists if the name is that of a snapshot whose pause id
/// is not in `descends_from`, and `options.replace` is not set.
Status check_target(const store::Store& store, const std::vector<Uuid>& descends_from,
                    const PauseOptions& options);

/// kExists if the id that the caller has chosen is that of an unfinished pause: it would give its
/// directory to this one.
Status check_pause_id(const store::Store& store, const PauseOptions& options);

/// Prepares the pause. On failure nothing is left but the facts of the VM's pin. kNoSpace if the
/// memory file, trailer and header may not fit; kInterrupted if `progress` asks to stop.
Result<PreparedPause> prepare_pause(ClaimedVm& claimed, const ExaminedVm& examined,
                                    const MemoryFileChoice& choice, const PauseOptions& options,
                                    Progress& progress);

}  // namespace lamina::lifecycle
