// Page cache queries and advice.
//
// All functions except write_back_and_drop() are advice: if the kernel does not support a call,
// nothing happens.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "lamina/result.h"

namespace lamina::os {

/// Bytes of the file in the page cache (cachestat(2), Linux 6.5); nullopt if unknown.
std::optional<std::uint64_t> cached_bytes(int fd);

/// Turns off readahead for this descriptor. Readahead would go across holes and fill the cache with
/// zeros.
void disable_readahead(int fd);

/// Starts reading a range into the page cache.
void read_ahead(int fd, std::uint64_t offset, std::uint64_t length);

/// Starts writing the dirty pages of a range to the disk. Not a sync.
void start_writeback(int fd, std::uint64_t offset, std::uint64_t length);

/// Writes the dirty pages of a range back and drops them from the cache. Success is not a sync. A
/// failure must not be ignored: the data is lost, and the kernel reports it only once, so a later
/// sync of the same descriptor succeeds.
Status write_back_and_drop(int fd, std::uint64_t offset, std::uint64_t length,
                           const std::string& object);

/// Drops the clean pages of a range from the cache.
void drop_cached(int fd, std::uint64_t offset, std::uint64_t length);

}  // namespace lamina::os
