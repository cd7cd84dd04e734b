// Ownership checks before a store is written.
//
// A store that is written, and each of lamina's own directories in it, must belong to the effective
// user, and no other user may have write permission. Otherwise another user could exchange files
// while lamina works on them, and use root's rights against a third user. So root does not write to
// a user's store: it must switch to that user first (runuser, setpriv), as the error says. Reading
// needs no such check: it follows no links and changes nothing.
#pragma once

#include <string>

#include "lamina/result.h"

namespace lamina::os {

/// kFailed unless `directory`, one of lamina's own, is writable by this user only.
Status check_owner(int directory, const std::string& path);

/// The same for a store directory. It may be writable by others if it has the sticky bit (as a new
/// tmpfs does): then they can create their own names, but not exchange ours.
Status check_store_owner(int directory, const std::string& path);

}  // namespace lamina::os
