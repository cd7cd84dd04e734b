// The directory on tmpfs that the VMM writes a diff to, so that the VM does not wait for a disk: a
// *freeze directory*, lamina-<pause id>.
//
// It has the VMM's files, and, once the VMM has answered, the answer. Everything in it ends with
// the boot, and so does the VM. The journal of the pause has the directory's identity: nothing else
// of that name is read or removed.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "lamina/result.h"
#include "lamina/uuid.h"
#include "os/fd.h"
#include "os/file.h"

namespace lamina::store {

std::string freeze_directory_name(const Uuid& id);

/// True for an absolute path that ends in such a name.
bool is_freeze_directory(std::string_view path);

/// The directory in a record.
struct FreezeDirectory {
  std::string path;     ///< empty: none
  std::string boot_id;  ///< in which it was made
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  std::int64_t born_ns = 0;  ///< since the epoch; 0 if its file system does not record it

  bool operator==(const FreezeDirectory&) const = default;
};

/// The record of a directory that was just made. `directory` is open.
Result<FreezeDirectory> record_freeze_directory(int directory, const std::string& path);

enum class FreezePresence : std::uint8_t {
  kThere,
  kGone,  ///< removed, or of an earlier boot
  /// This process does not see the file system that it was in: it may be there.
  kUnseen,
};

struct FoundFreezeDirectory {
  FreezePresence presence = FreezePresence::kGone;
  os::Fd directory;  ///< only if kThere
};

/// Looks for it. Another directory of that name, or one that belongs to another user or that others
/// may enter, counts as gone. Fails at a symbolic link.
Result<FoundFreezeDirectory> find_freeze_directory(const FreezeDirectory& record);

/// Removes it and the files in it. Success if it is gone, or not seen.
Status remove_freeze_directory(const FreezeDirectory& record);

/// That the VMM has acknowledged its files, and what the memory file was then. The diff's holes are
/// part of it: a hole that was read through a mapping has storage afterwards, which shows in
/// `allocated_bytes`.
struct FreezeAnswer {
  Uuid pause_id;
  std::uint64_t memory_bytes = 0;
  std::uint64_t inode = 0;
  std::uint64_t allocated_bytes = 0;
  std::int64_t modified_ns = 0;

  [[nodiscard]] bool describes(const os::FileFacts& memory_file) const {
    return memory_file.size_bytes == memory_bytes && memory_file.inode == inode &&
           memory_file.allocated_bytes == allocated_bytes && memory_file.modified_ns == modified_ns;
  }
  bool operator==(const FreezeAnswer&) const = default;
};

/// True if the directory has an answer, of whatever pause.
bool has_freeze_answer(int directory);

/// Writes the answer into the directory, atomically.
Status write_freeze_answer(const FreezeAnswer& answer, int directory, const std::string& path);

/// nullopt if there is none. kCorrupt if there is another file of that name, or one that belongs to
/// another pause.
Result<std::optional<FreezeAnswer>> read_freeze_answer(int directory, const std::string& path,
                                                       const Uuid& pause_id);

}  // namespace lamina::store
