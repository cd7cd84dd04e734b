// Where Firecracker writes the files of a pause: to the store's disk, or to a freeze directory on
// tmpfs (store/freeze_directory.h), from which they are stored once the VM runs again.
//
// The area, /dev/shm/lamina-freeze-UID, belongs to lamina's user alone. It has a freeze directory
// for each pause, with the number of bytes that are reserved for it. Firecracker is asked to write
// there only if the whole memory of the VM would fit, since nobody knows before how much a diff
// has: into the budget, the free space of the tmpfs, the host's memory and the limits of the
// control groups that Firecracker's process is in, which its pages count for. Whatever else is
// reserved counts as used.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "lamina/lifecycle.h"
#include "lamina/result.h"
#include "lamina/uuid.h"
#include "lifecycle/claimed_vm.h"
#include "lifecycle/memory_file_choice.h"
#include "os/hole_probe.h"
#include "os/lock.h"
#include "os/memory_room.h"
#include "store/freeze_directory.h"

namespace lamina::lifecycle {

/// A freeze directory with space that is reserved for it.
struct FreezeMemory {
  store::FreezeDirectory record;
  /// Locked: what no pause has locked, and no journal names, is removed by the next reservation.
  os::LockedFd directory;
  os::HoleProbe probe;  ///< of its file system
};

struct FreezeChoice {
  std::optional<FreezeMemory> memory;  ///< absent: the disk
  std::string reason;
};

/// Decides, and makes the directory. A failure is a reason to take the disk.
FreezeChoice choose_freeze_memory(const ClaimedVm& claimed, const ExaminedVm& examined,
                                  const MemoryFileChoice& choice, const PauseOptions& options,
                                  const Uuid& pause_id);

/// What may be reserved.
struct FreezeBudget {
  /// Of all reservations of this user; kFreezeMemoryShare: half of what is available.
  std::uint64_t most_bytes = kFreezeMemoryShare;
  os::MemoryRoom room;           ///< what the VMM's process can take
  std::uint64_t free_bytes = 0;  ///< of the tmpfs
};

/// Why `bytes` more cannot be reserved beside `reserved_bytes`; empty if they can.
std::string why_not_reserved(const FreezeBudget& budget, std::uint64_t reserved_bytes,
                             std::uint64_t bytes);

/// The directory in which freeze directories are made.
class FreezeArea {
 public:
  /// Opens `path`, which is made (mode 0700) if it is missing; empty: the default one. kPermission
  /// if it belongs to another user or others may enter it; kUnsupported if it is not on tmpfs.
  static Result<FreezeArea> open(const std::string& path);

  [[nodiscard]] const std::string& path() const { return path_; }

  /// Makes the directory of a pause of `store` (its path) and reserves `bytes` for it. kNoSpace if
  /// why_not_reserved(); kBusy if another process has locked the area for seconds. Removes
  /// directories that earlier pauses have left.
  [[nodiscard]] Result<FreezeMemory> reserve(const Uuid& pause_id, const std::string& store,
                                             std::uint64_t bytes, const FreezeBudget& budget) const;

 private:
  FreezeArea(std::string path, os::Fd fd) : path_(std::move(path)), fd_(std::move(fd)) {}

  static Result<FreezeArea> open_existing(const std::string& path);
  [[nodiscard]] Result<std::uint64_t> reserved_bytes() const;
  [[nodiscard]] Result<FreezeMemory> make_directory(const Uuid& pause_id, const std::string& store,
                                                    std::uint64_t bytes) const;

  std::string path_;
  os::Fd fd_;
};

}  // namespace lamina::lifecycle
