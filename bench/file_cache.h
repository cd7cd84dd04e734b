// What of a directory's files is in the page cache.
#pragma once

#include <cstdint>
#include <string>

#include "lamina/result.h"

namespace lamina::bench {

/// Bytes of all files below `directory` that are in the page cache, by mincore(2).
Result<std::uint64_t> cached_bytes(const std::string& directory);

/// Syncs all files below `directory` and drops them from the page cache.
Status drop_cache(const std::string& directory);

}  // namespace lamina::bench
