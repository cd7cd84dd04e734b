// The files below a directory, and the storage that they allocate.
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
  std::vector<FileUse> files;  ///< each inode once, in the order of the inodes
  std::optional<Error> error;  ///< the first entry that could not be read
};

/// All files below the open directory. A file that disappears meanwhile is left out.
FileScan files_below(int directory, const std::string& path);

/// Sums the storage of files, and counts each file once.
class FileTally {
 public:
  /// Returns the allocated bytes of those files that were not added before.
  std::uint64_t add(const std::vector<FileUse>& files);

 private:
  std::set<std::pair<std::uint64_t, std::uint64_t>> seen_;
};

/// Counts removed names, to know which one is a file's last and frees its storage.
class RemovalTally {
 public:
  struct Bytes {
    std::uint64_t freed = 0;
    std::uint64_t remaining = 0;
  };
  /// Counts the names of `files` as removed. REQUIRES: none of them was counted before.
  Bytes remove(const std::vector<FileUse>& files);

 private:
  std::map<std::pair<std::uint64_t, std::uint64_t>, std::uint64_t> removed_links_;
};

}  // namespace lamina::operations
