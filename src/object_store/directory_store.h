// An object store in a directory: directory_objects.h, carried out by threads, because a file
// system of the network may block for long.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "lamina/result.h"
#include "object_store/object_store.h"

namespace lamina::object_store {

struct DirectoryOptions {
  std::string path;
  /// Requests at a time, each in a thread of its own.
  std::size_t max_parallel = 4;
};

/// kNotFound if the directory does not exist. Of a request that reaches its deadline, or is
/// cancelled, the thread goes on to the end of the system call; the destructor waits for that too.
/// Limits::stall has no meaning here.
Result<std::unique_ptr<ObjectStore>> open_directory_store(const DirectoryOptions& options);

}  // namespace lamina::object_store
