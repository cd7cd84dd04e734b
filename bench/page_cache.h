// What of a file is in the page cache, and how to get it out.
#pragma once

#include <cstdint>

#include "lamina/result.h"

namespace lamina::bench {

/// Bytes of the first `bytes` of a file that are in the page cache (mincore(2)).
Result<std::uint64_t> cached_bytes_of(int fd, std::uint64_t bytes);

/// Syncs the file and drops it from the page cache.
Status drop_cached(int fd, std::uint64_t bytes);

}  // namespace lamina::bench
