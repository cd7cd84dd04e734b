// What must hold in every state of the model.
#pragma once

#include "successors.h"

namespace lamina::object_tier_model {

/// The first rule that does not hold in the state, or that the way to it has broken.
///
///   kLost                 an acknowledged manifest whose removal nobody asked for is there, and
///   all
///                         of its objects are
///   kBroken               all objects of each name's newest manifest are there, acknowledged or
///   not kNameUsedAgain        the name of a deleted object never exists again kBothWin of two
///   pushes that descend from the same state, only one is acknowledged,
///                         unless the removal of the other was asked for
///   kAcknowledgedTooLate  no push is acknowledged at a number below a newer state's
///   kFalseConflict        a push that nobody competes with is never told of a conflict
///   kPullFailed           a pull of a manifest whose removal nobody asked for gets every object; a
///                         protected pull always does
///
/// The rules of acknowledgements, conflicts and pulls are checked by the step
/// (Successor::violation).
Violation check(const Config& config, const World& world);

/// kWentBack, if the newest state of a name becomes an older one.
Violation check_step(const World& before, const World& after);

/// For a state in which all actors have ended: kLeftovers, unless one more collection that nobody
/// disturbs, and to which all pins are past their time, leaves exactly the objects that manifests
/// reference, no pins, and no tombstones but those of objects that are still referenced. kLost, if
/// it harms an acknowledged manifest.
Violation check_ended(const Config& config, const World& world);

std::string_view word_of(Violation violation);

}  // namespace lamina::object_tier_model
