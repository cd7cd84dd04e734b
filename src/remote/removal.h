// Removing a name (docs/remote.md, "Removing").
#pragma once

#include <cstdint>
#include <optional>

#include "lamina/remote.h"
#include "lamina/result.h"
#include "object_store/object_store.h"

namespace lamina::remote {

/// As remove_remote(), with an open bucket; `options.url` is not used.
/// With `only_number`, only if the newest state has that number; else kBusy.
Result<RemoteRemoveReport> remove_name(object_store::ObjectStore& bucket,
                                       const RemoteRemoveOptions& options,
                                       std::optional<std::uint64_t> only_number = {});

}  // namespace lamina::remote
