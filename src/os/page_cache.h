// What is cached of a file, and what the kernel is told about it.
//
// All but write_and_drop() is advice: where the kernel does not know a call, or cannot do it,
// nothing happens and nothing is wrong.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "lamina/result.h"

namespace lamina::os {

/// Bytes of the file that are in the page cache (cachestat, Linux 6.5). Nothing where the kernel
/// cannot tell.
std::optional<std::uint64_t> cached_bytes(int fd);

/// Reads of this descriptor bring in what they ask for and nothing around it: else the kernel reads
/// ahead across holes, and fills the cache with zeros.
void read_exactly_what_is_asked(int fd);

/// Starts to read a range into the page cache.
void read_ahead(int fd, std::uint64_t offset, std::uint64_t length);

/// Starts to write the cached changes of a range to the disk. Promises nothing: only a sync does.
void start_writing(int fd, std::uint64_t offset, std::uint64_t length);

/// Writes the cached changes of a range, and gives its pages back, for everybody. Promises nothing
/// about the disk when it succeeds; but a failure must not be ignored: what could not be written is
/// lost, and the kernel tells it only once, so that a sync of the same descriptor succeeds after
/// it.
Status write_and_drop(int fd, std::uint64_t offset, std::uint64_t length,
                      const std::string& object);

/// Gives back the unchanged pages of a range, for everybody.
void drop_cached(int fd, std::uint64_t offset, std::uint64_t length);

}  // namespace lamina::os
