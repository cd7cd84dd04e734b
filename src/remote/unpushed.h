// The states of a store that wait to be pushed.
#pragma once

#include <string>
#include <vector>

#include "lamina/remote.h"

namespace lamina::remote {

/// As list_unpushed(). `remote`: the bucket's name, as push records have it.
Result<std::vector<UnpushedState>> unpushed_states(const UnpushedOptions& options,
                                                   const std::string& remote);

}  // namespace lamina::remote
