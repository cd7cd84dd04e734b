// Which files are below a directory, and what they allocate.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "lamina/listing.h"
#include "lamina/result.h"

namespace lamina::operations {

struct FileScan {
  std::vector<FileUse> files;  ///< each inode once, ordered by it
  std::optional<Error> error;  ///< the first thing that could not be looked at
};

/// Everything below the open directory that is no directory. What goes meanwhile is left out.
FileScan files_below(int directory, const std::string& path);

/// Counts each file once, wherever it is met again.
class FileTally {
 public:
  /// Allocated bytes of those files that have not been added before.
  std::uint64_t add(const std::vector<FileUse>& files);

 private:
  std::set<std::pair<std::uint64_t, std::uint64_t>> seen_;
};

/// Keeps count of names that go, so that it is known with which one a file's storage goes.
class RemovalTally {
 public:
  struct Bytes {
    std::uint64_t freed = 0;
    std::uint64_t remaining = 0;
  };
  /// Takes the names of `files` away, which must not have been taken before.
  Bytes remove(const std::vector<FileUse>& files);

 private:
  std::map<std::pair<std::uint64_t, std::uint64_t>, std::uint64_t> removed_links_;
};

}  // namespace lamina::operations
