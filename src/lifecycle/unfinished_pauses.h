// Ending all unfinished pauses of a store, of many VMs at the same time.
#pragma once

#include <vector>

#include "lamina/lifecycle.h"
#include "lamina/result.h"
#include "store/pause_journal.h"
#include "store/store.h"

namespace lamina::lifecycle {

/// Ends the pauses with these journals, those of one VM in the order given: completes what was
/// acknowledged, discards the rest, and gives up those of `options.give_up`. Pauses that another
/// process has locked are left alone. Adds to `report`; what cannot be ended is counted as queued,
/// with a note. kInterrupted once `options.progress` asks to stop: pauses that were not begun by
/// then stay queued.
Status end_pauses(const store::Store& store, const std::vector<store::PauseJournal>& journals,
                  const RecoverOptions& options, RecoverReport& report);

}  // namespace lamina::lifecycle
