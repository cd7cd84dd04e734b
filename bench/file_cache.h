// What of files is in the page cache, and how to get it out.
#pragma once

#include <cstdint>
#include <string>

#include "lamina/result.h"

namespace lamina::bench {

/// Bytes of the first `bytes` of a file that are in the page cache, by mincore(2).
Result<std::uint64_t> cached_bytes_of(int fd, std::uint64_t bytes);

/// The same of all files below `directory`.
Result<std::uint64_t> cached_bytes(const std::string& directory);

/// Syncs a file and drops it from the page cache.
Status drop_cached(int fd, std::uint64_t bytes);

/// The same with all files below `directory`.
Status drop_cache(const std::string& directory);

}  // namespace lamina::bench
