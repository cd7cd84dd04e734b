// Bit rot: bytes that change, files that are cut, blocks and files that stand in others' places.
#pragma once

#include <string_view>
#include <vector>

#include "trial.h"

namespace lamina::torture {

/// Snapshots whose files are damaged, one way each.
std::vector<std::string_view> rot_subjects();

/// Every byte of every file of a snapshot changed, every file cut at every length, every block lost
/// or in another's place; or, for "exchanged", every file replaced by every other one of the store.
/// Figures: bytes, states, refused, stopped, harmless (see Outcome).
TrialReport try_rot(std::string_view subject, const TrialOptions& options);

}  // namespace lamina::torture
