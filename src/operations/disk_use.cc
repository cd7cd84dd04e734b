#include "operations/disk_use.h"

#include <fcntl.h>

#include "os/directory.h"
#include "os/file.h"

namespace lamina::operations {
namespace {

/// lamina's directories are three levels deep. Deeper levels of a user's directories are not
/// counted.
constexpr int kMaxDepth = 32;

using FileKey = std::pair<std::uint64_t, std::uint64_t>;

class Walk {
 public:
  // NOLINTNEXTLINE(misc-no-recursion): as deep as the tree, and limited.
  void visit(int directory, const std::string& path, int depth) {
    const auto names = os::list_directory(directory, path);
    if (!names) return keep(names.error());
    for (const std::string& name : *names) {
      const std::string entry_path = path + "/" + name;
      const auto facts = os::facts_of_name(directory, name, entry_path);
      if (!facts) {
        keep(facts.error());
      } else if (!facts->is_directory) {
        add(*facts);
      } else if (depth < kMaxDepth) {
        const auto opened =
            os::open_at(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, entry_path);
        if (opened) {
          visit(opened->get(), entry_path, depth + 1);
        } else {
          keep(opened.error());
        }
      }
    }
  }

  FileScan result() && {
    FileScan scan;
    scan.error = std::move(error_);
    for (const auto& [key, file] : files_) scan.files.push_back(file);
    return scan;
  }

 private:
  void add(const os::FileFacts& facts) {
    FileUse& file = files_[FileKey(facts.device, facts.inode)];
    const std::uint64_t links_here = file.links_here + 1;
    file = {facts.device, facts.inode, facts.link_count, links_here, facts.allocated_bytes};
  }

  void keep(const Error& error) {
    if (error.kind != ErrorKind::kNotFound && !error_) error_ = error;
  }

  std::map<FileKey, FileUse> files_;
  std::optional<Error> error_;
};

}  // namespace

FileScan files_below(int directory, const std::string& path) {
  Walk walk;
  walk.visit(directory, path, 0);
  return std::move(walk).result();
}

std::uint64_t FileTally::add(const std::vector<FileUse>& files) {
  std::uint64_t bytes = 0;
  for (const FileUse& file : files) {
    if (seen_.emplace(file.device, file.inode).second) bytes += file.allocated_bytes;
  }
  return bytes;
}

RemovalTally::Bytes RemovalTally::remove(const std::vector<FileUse>& files) {
  Bytes bytes;
  for (const FileUse& file : files) {
    std::uint64_t& removed = removed_links_[FileKey(file.device, file.inode)];
    removed += file.links_here;
    (removed >= file.link_count ? bytes.freed : bytes.remaining) += file.allocated_bytes;
  }
  return bytes;
}

}  // namespace lamina::operations
