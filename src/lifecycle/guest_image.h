// Where the memory of a Cloud Hypervisor VM is, and how it becomes a memory file.
//
// Private memory is a file that the process maps (a materialized one of a store, or the file of a
// zone that the VM was started with). A page is the file's, or the process has a copy of its own,
// which its page table shows (os/process_memory.h). Shared memory is in memfds.
//
// What changed in shared memory is found by comparing all of it with the base. Its page table does
// not tell: the kernel takes entries out when it swaps a page or joins pages to a huge one, and a
// device outside of the VMM (vhost-user) writes past it. A comparison assumes nothing about the
// past of the memory, so it is right for any base of the same size.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/run.h"
#include "engine/chain.h"
#include "lamina/progress.h"
#include "lamina/result.h"
#include "os/fd.h"
#include "os/file.h"
#include "os/process_memory.h"
#include "vmm/cloud_hypervisor/vm_configuration.h"

namespace lamina::lifecycle {

/// A part of the memory file, and where the process has it.
struct ImagePart {
  std::uint64_t image_offset = 0;
  std::uint64_t length = 0;
  std::uint64_t address = 0;  ///< in the process
};

enum class MappedAs : std::uint8_t { kPrivate, kShared };

/// Where file offsets [offset, offset + length) are mapped as `as`, by one or more mappings;
/// `image_offset` counts from `image`. kUnsupported if they are not all mapped exactly once, or one
/// mapping is of the other kind. Pure.
Result<std::vector<ImagePart>> find_parts(const std::vector<os::FileMapping>& mappings,
                                          const os::FileFacts& file, const ByteRange& range,
                                          std::uint64_t image, MappedAs as = MappedAs::kPrivate);

class GuestImage {
 public:
  /// Finds the memory of process `pid`. `memfds`: those that it has handed over, which must
  /// outlive this. `map`: the materialized file that the VM may map, which must outlive this; null:
  /// none. kUnsupported if a
  /// part is not where the configuration says; kPermission without ptrace access.
  static Result<GuestImage> find(pid_t pid, const std::string& config,
                                 const std::map<std::uint32_t, os::Fd>& memfds,
                                 const os::OpenedFile* map);

  [[nodiscard]] std::uint64_t memory_bytes() const { return layout_.memory_bytes; }
  /// True if all memory is `map`, each part at its own place: then changes count from it.
  [[nodiscard]] bool is_map() const { return is_map_; }

  /// Writes the pages that were written since `map` was mapped to their places in the empty file
  /// `out`, and returns them. REQUIRES: is_map(), and the VM is frozen.
  Result<std::vector<ByteRange>> write_changed(int out, const std::string& path) const;

  /// Writes the blocks that are not those of `base` to their places in the empty file `out`, zeros
  /// too, and returns them. All of the memory is compared, byte by byte; a block of the base that
  /// cannot be read counts as another. REQUIRES: `base` has memory_bytes(), and the VM is frozen.
  [[nodiscard]] Result<std::vector<ByteRange>> write_different(const engine::Chain& base, int out,
                                                               const std::string& path) const;

  /// Writes all of the memory; blocks of zeros stay holes. REQUIRES: the VM is frozen.
  [[nodiscard]] Status write_all(int out, const std::string& path) const;

 private:
  struct Source {
    std::vector<ImagePart> parts;  ///< of private memory
    os::Fd opened;                 ///< the zone's file, if it is not `map`
    int file = -1;                 ///< the memfd or the file
    ByteRange range;               ///< in `file`
    std::uint64_t image_offset = 0;
  };

  GuestImage(vmm::MemoryLayout layout, os::ProcessMemory memory)
      : layout_(std::move(layout)), memory_(std::move(memory)) {}

  Status add(const vmm::RamMapping& mapping, const std::vector<os::FileMapping>& mapped,
             const std::map<std::uint32_t, os::Fd>& memfds, const os::OpenedFile* map,
             const vmm::MemoryConfiguration& configuration);
  [[nodiscard]] Result<std::vector<ImagePart>> written_parts(const Source& source) const;
  [[nodiscard]] Status write_others(const Source& source, const engine::Chain* base, int out,
                                    const std::string& path, std::vector<ByteRange>& written) const;
  [[nodiscard]] Status write_run(const ImagePart& run, int out, const std::string& path) const;

  vmm::MemoryLayout layout_;
  os::ProcessMemory memory_;
  std::vector<Source> sources_;
  bool is_map_ = true;
};

/// Reads all data of `base` once, so that write_different() finds it in the page cache and the VM
/// is not frozen while a disk reads. What cannot be read is skipped. kInterrupted.
Status read_ahead(const engine::Chain& base, Progress& progress);

}  // namespace lamina::lifecycle
