// Whose a store is, and who may therefore change it.
//
// A store that is written, and each of lamina's own directories in it, must belong to the effective
// user, and nobody else may write to it. Otherwise another user could exchange what is in it while
// we work: have our files replaced, and root's rights used against a third. So root does not write
// to a user's store: it takes that user's rights first (runuser, setpriv), which the error says.
// Reading needs none of this: it follows no links, and changes nothing.
#pragma once

#include <string>

#include "lamina/result.h"

namespace lamina::os {

/// kFailed when the directory `directory`, which is lamina's own, is not this user's alone to
/// write.
Status check_owner(int directory, const std::string& path);

/// The same of a store. In one with the sticky bit, as a fresh tmpfs has it, others may make names
/// of their own, but not exchange ours.
Status check_store_owner(int directory, const std::string& path);

}  // namespace lamina::os
