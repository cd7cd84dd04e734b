// The memory of another process, and which pages of a private file mapping it has written.
//
// A page of a private mapping is the file's until the process writes it: then the process has a
// copy of its own. The page table tells the two apart
// (<https://docs.kernel.org/admin-guide/mm/pagemap.html>): a page that is present or swapped out,
// and not a page of the file, was written since the file was mapped. Nothing clears that but
// giving the page back (madvise(2)), after which the page is the file's again.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/run.h"
#include "lamina/result.h"
#include "os/fd.h"
#include "os/file.h"

namespace lamina::os {

/// A mapping of a file: addresses [begin, end), a line of /proc/PID/maps.
struct FileMapping {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  std::uint64_t file_offset = 0;  ///< of the first byte
  std::uint64_t device = 0;       ///< as FileFacts::device
  std::uint64_t inode = 0;
  bool is_private = false;

  bool operator==(const FileMapping&) const = default;
};

/// The file mappings in the text of /proc/PID/maps, in its order. Lines that cannot be read are
/// left out.
std::vector<FileMapping> parse_mappings(std::string_view text);

/// Those of process `pid`. kPermission without ptrace(2) read access.
Result<std::vector<FileMapping>> file_mappings_of(pid_t pid);

/// The facts of an open file, with device and inode as /proc/PID/maps shows them: they are not
/// those of stat(2) on every file system (a subvolume of btrfs has a device of its own only there).
Result<FileFacts> facts_as_mapped(const OpenedFile& file, const std::string& path);

/// How the page table is read.
enum class PageScan : std::uint8_t {
  kAuto,     ///< PAGEMAP_SCAN if the kernel has it (6.7), else by entries
  kEntries,  ///< one entry of /proc/PID/pagemap for each page
};

/// The pid may have been reused: the caller holds a pidfd, and checks that the process was alive
/// after open().
class ProcessMemory {
 public:
  /// Opens /proc/PID/mem and /proc/PID/pagemap. kPermission, with a remedy, without ptrace(2)
  /// access to the process.
  static Result<ProcessMemory> open(pid_t pid);

  /// The addresses of [begin, end) that the process has written since it mapped a file there, in
  /// order, adjacent ones joined. Both are multiples of 4096. The process must not run meanwhile.
  [[nodiscard]] Result<std::vector<ByteRange>> written_pages(std::uint64_t begin, std::uint64_t end,
                                                             PageScan scan = PageScan::kAuto) const;

  /// Reads from address `address`.
  [[nodiscard]] Status read(std::span<std::byte> buffer, std::uint64_t address) const;

 private:
  ProcessMemory(pid_t pid, Fd memory, Fd pagemap)
      : pid_(pid), memory_(std::move(memory)), pagemap_(std::move(pagemap)) {}

  [[nodiscard]] Result<std::vector<ByteRange>> scan_table(std::uint64_t begin,
                                                          std::uint64_t end) const;
  [[nodiscard]] Result<std::vector<ByteRange>> scan_entries(std::uint64_t begin,
                                                            std::uint64_t end) const;

  pid_t pid_;
  Fd memory_;
  Fd pagemap_;
};

}  // namespace lamina::os
