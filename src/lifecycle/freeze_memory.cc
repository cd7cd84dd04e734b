#include "lifecycle/freeze_memory.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <span>
#include <string_view>
#include <system_error>
#include <utility>

#include "base/error.h"
#include "lifecycle/visibility.h"
#include "os/directory.h"
#include "os/file.h"
#include "os/path_walk.h"
#include "os/process.h"
#include "store/areas.h"
#include "store/pending_area.h"
#include "store/store_identity.h"

namespace lamina::lifecycle {
namespace {

constexpr const char* kAreaLockName = ".lock";
/// Of a freeze directory: the number of bytes that are reserved; device, inode and birth time of
/// its store's directory; and the path of that, which may have any bytes. Each in a line.
constexpr const char* kReservationName = ".reserved";
constexpr std::uint64_t kMostReservationBytes = 8192;
constexpr std::uint32_t kBitsOfOthers = 077;
/// For the VM state and lamina's own files.
constexpr std::uint64_t kBesideMemoryBytes = std::uint64_t{4} << 20;
constexpr std::uint64_t kDefaultShare = 2;
/// The lock of the area is held for a moment. Nobody waits long for a process that is stopped.
constexpr std::chrono::seconds kLongestWait{2};

std::string default_area() { return fmt::format("/dev/shm/lamina-freeze-{}", ::geteuid()); }

struct Reservation {
  std::uint64_t bytes = 0;
  store::StoreIdentity owner;  ///< as it was then
  std::string store;
};

std::string to_text(const Reservation& reservation) {
  return fmt::format("{}\n{}\n{}\n{}\n{}\n", reservation.bytes, reservation.owner.device,
                     reservation.owner.inode, reservation.owner.born_ns, reservation.store);
}

/// Removes a line with a number from `text`.
std::optional<std::uint64_t> take_line(std::string_view& text) {
  const std::size_t end = text.find('\n');
  if (end == std::string_view::npos) return std::nullopt;
  std::uint64_t number = 0;
  const std::string_view line = text.substr(0, end);
  const auto [stop, error] = std::from_chars(line.begin(), line.end(), number);
  if (error != std::errc{} || stop != line.end()) return std::nullopt;
  text.remove_prefix(end + 1);
  return number;
}

/// nullopt if there is none that this version of lamina has written.
Result<std::optional<Reservation>> read_reservation(int directory, const std::string& path) {
  LAMINA_ASSIGN_OR_RETURN(const auto bytes,
                          os::read_if_exists(directory, kReservationName, kMostReservationBytes,
                                             path + "/" + kReservationName));
  if (!bytes) return std::nullopt;
  std::string_view text(reinterpret_cast<const char*>(bytes->data()), bytes->size());
  const auto reserved = take_line(text);
  const auto device = take_line(text);
  const auto inode = take_line(text);
  const auto born_ns = take_line(text);
  if (!reserved || !device || !inode || !born_ns || !text.ends_with('\n')) return std::nullopt;
  Reservation reservation{*reserved, {*device, *inode, *born_ns, {}, {}}, std::string(text)};
  reservation.store.pop_back();
  LAMINA_ASSIGN_OR_RETURN(reservation.owner.boot_id, os::boot_id());  // tmpfs ends with the boot
  return reservation;
}

/// True if no process works on the directory and its store, which is there, has no journal of it.
bool is_left_over(int directory, const std::string& path, const std::string& name,
                  const std::optional<Reservation>& reservation) {
  const auto locked = os::is_locked(directory, path);
  if (!locked || *locked) return false;
  // Its maker was killed before it wrote that, and so before the VMM was asked. If there is an
  // answer, another version of lamina wrote it, and the pause may have been acknowledged.
  if (!reservation) return !store::has_freeze_answer(directory);
  // What another store has no journal of says nothing: in another mount namespace the path may lead
  // to another volume, whose first directory has the same inode number.
  const auto opened = os::open_directory(AT_FDCWD, reservation->store, reservation->store);
  if (!opened) return false;
  const auto here = store::identity_of(opened->get(), reservation->store);
  if (!here || !store::why_foreign(reservation->owner, *here).empty()) return false;
  const std::string area = reservation->store + "/" + store::kPendingArea;
  const auto pending = os::open_directory(opened->get(), store::kPendingArea, area);
  if (!pending) return false;
  const std::string id = name.substr(name.find('-') + 1);
  const auto journal = os::facts_of_name(pending->get(), store::journal_name(id), area + "/" + id);
  return !journal && journal.error().kind == ErrorKind::kNotFound;
}

void remove_left_over(int area, const std::string& name, int directory, const std::string& path) {
  if (os::remove_files(directory, path)) static_cast<void>(os::remove_directory(area, name, path));
}

/// Why the VMM is not asked to write to memory, as far as that is known without looking at memory;
/// empty if it may be.
std::string why_disk(const ClaimedVm& claimed, const MemoryFileChoice& choice,
                     const PauseOptions& options) {
  if (options.freeze_memory_bytes == 0) return "memory is not to be used";
  if (!choice.is_diff) return "it is a full memory file";
  if (options.after != AfterPause::kResume) {
    return "the VM does not run on, so it gains nothing from memory";
  }
  if (claimed.jail.is_apart()) return "the VM is in a jail";
  if (claimed.vmm.uid() != ::geteuid() && claimed.vmm.uid() != 0) {
    return fmt::format("the VM's process runs as user {}, who may not write to memory of user {}",
                       claimed.vmm.uid(), ::geteuid());
  }
  return {};
}

Result<FreezeMemory> reserve_for(const ClaimedVm& claimed, const ExaminedVm& examined,
                                 const PauseOptions& options, const Uuid& pause_id) {
  LAMINA_ASSIGN_OR_RETURN(const FreezeArea area, FreezeArea::open(options.freeze_directory));
  if (!is_found_by(claimed.vmm.pid(), {area.path(), area.path()})) {
    return fail(ErrorKind::kFailed, "it is not known that the VM's process finds '{}'",
                area.path());
  }
  FreezeBudget budget;
  budget.most_bytes = options.freeze_memory_bytes;
  LAMINA_ASSIGN_OR_RETURN(budget.room, os::memory_room(claimed.vmm.pid()));
  LAMINA_ASSIGN_OR_RETURN(budget.free_bytes, os::free_bytes(area.path()));
  LAMINA_ASSIGN_OR_RETURN(FreezeMemory memory,
                          area.reserve(pause_id, claimed.store->path(),
                                       examined.memory_bytes + kBesideMemoryBytes, budget));
  auto probe = os::probe_holes(memory.directory.get(), examined.memory_bytes, memory.record.path);
  if (probe && !probe->is_exact) {
    probe = fail(ErrorKind::kUnsupported, "holes in '{}' cannot be trusted: {}", area.path(),
                 probe->explanation);
  }
  if (!probe) {
    static_cast<void>(store::remove_freeze_directory(memory.record));
    return std::unexpected(probe.error());
  }
  memory.probe = std::move(*probe);
  return memory;
}

}  // namespace

Result<FreezeArea> FreezeArea::open(const std::string& path) {
  const std::string named = path.empty() ? default_area() : path;
  LAMINA_ASSIGN_OR_RETURN(const bool made, os::make_directory(AT_FDCWD, named, named));
  auto opened = open_existing(named);
  if (!opened && made) static_cast<void>(os::remove_directory(AT_FDCWD, named, named));
  return opened;
}

Result<FreezeArea> FreezeArea::open_existing(const std::string& path) {
  LAMINA_ASSIGN_OR_RETURN(const std::string real, os::real_path(path));
  LAMINA_ASSIGN_OR_RETURN(os::Fd fd, os::open_directory(AT_FDCWD, real, real));
  LAMINA_ASSIGN_OR_RETURN(const os::FileFacts facts, os::facts_of(fd.get(), real));
  if (facts.user != ::geteuid()) {
    return fail(ErrorKind::kPermission, "'{}' belongs to user {}, not to user {}", real, facts.user,
                ::geteuid());
  }
  if ((facts.mode & kBitsOfOthers) != 0) {
    return fail(ErrorKind::kPermission, "'{}' is open to other users (mode {:o})", real,
                facts.mode);
  }
  if (!os::is_on_tmpfs(fd.get())) {
    return fail(ErrorKind::kUnsupported, "'{}' is not on tmpfs", real);
  }
  return FreezeArea(real, std::move(fd));
}

Result<std::uint64_t> FreezeArea::reserved_bytes() const {
  LAMINA_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                          os::list_directory(fd_.get(), path_));
  std::uint64_t sum = 0;
  for (const std::string& name : names) {
    const std::string path = path_ + "/" + name;
    if (!store::is_freeze_directory(path)) continue;
    const auto directory = os::open_directory(fd_.get(), name, path);
    if (!directory && directory.error().kind == ErrorKind::kNotFound) continue;  // just removed
    if (!directory) return std::unexpected(directory.error());
    LAMINA_ASSIGN_OR_RETURN(const std::optional<Reservation> reservation,
                            read_reservation(directory->get(), path));
    if (is_left_over(directory->get(), path, name, reservation)) {
      remove_left_over(fd_.get(), name, directory->get(), path);
    } else if (reservation) {
      sum += std::min(reservation->bytes, UINT64_MAX - sum);
    }
  }
  return sum;
}

Result<FreezeMemory> FreezeArea::make_directory(const Uuid& pause_id, const std::string& store,
                                                std::uint64_t bytes) const {
  const std::string name = store::freeze_directory_name(pause_id);
  const std::string path = path_ + "/" + name;
  LAMINA_ASSIGN_OR_RETURN(const bool made, os::make_directory(fd_.get(), name, path));
  if (!made) return fail(ErrorKind::kExists, "'{}' exists", path);
  FreezeMemory memory;
  const Status done = [&]() -> Status {
    LAMINA_ASSIGN_OR_RETURN(os::Fd fd, os::open_directory(fd_.get(), name, path));
    LAMINA_ASSIGN_OR_RETURN(const bool locked, os::try_lock(fd.get(), path));
    if (!locked) return fail(ErrorKind::kFailed, "'{}' cannot be locked", path);
    memory.directory = os::LockedFd(std::move(fd));
    LAMINA_ASSIGN_OR_RETURN(memory.record,
                            store::record_freeze_directory(memory.directory.get(), path));
    LAMINA_ASSIGN_OR_RETURN(const store::StoreIdentity owner, store::identity_of_store(store));
    const std::string text = to_text({bytes, owner, store});
    return os::write_new_file(memory.directory.get(), kReservationName,
                              std::as_bytes(std::span(text)), path);
  }();
  if (done) return memory;
  if (memory.directory.valid()) static_cast<void>(os::remove_files(memory.directory.get(), path));
  static_cast<void>(os::remove_directory(fd_.get(), name, path));
  return std::unexpected(done.error());
}

Result<FreezeMemory> FreezeArea::reserve(const Uuid& pause_id, const std::string& store,
                                         std::uint64_t bytes, const FreezeBudget& budget) const {
  const std::string lock_path = path_ + "/" + kAreaLockName;
  LAMINA_ASSIGN_OR_RETURN(os::Fd lock_file,
                          os::open_at(fd_.get(), kAreaLockName, O_RDWR | O_CREAT, lock_path));
  const os::LockedFd lock(std::move(lock_file));
  LAMINA_RETURN_IF_ERROR(os::wait_for_lock(lock.get(), lock_path, kLongestWait));
  LAMINA_ASSIGN_OR_RETURN(const std::uint64_t reserved, reserved_bytes());
  const std::string why = why_not_reserved(budget, reserved, bytes);
  if (!why.empty()) return fail(ErrorKind::kNoSpace, "{}", why);
  return make_directory(pause_id, store, bytes);
}

std::string why_not_reserved(const FreezeBudget& budget, std::uint64_t reserved_bytes,
                             std::uint64_t bytes) {
  const auto exceeds = [&](std::uint64_t most) {
    return reserved_bytes > most || bytes > most - reserved_bytes;
  };
  const std::string need =
      reserved_bytes == 0
          ? fmt::format("the diff may need {} bytes of memory", bytes)
          : fmt::format("the diff may need {} bytes of memory beside the {} that other pauses have",
                        bytes, reserved_bytes);
  if (budget.most_bytes == kFreezeMemoryShare) {
    if (!budget.room.unknown.empty()) {
      return fmt::format("it is not known how much memory the VM's process may take: {}",
                         budget.room.unknown);
    }
    if (exceeds(budget.room.bytes / kDefaultShare)) {
      return fmt::format("{}, and half of what {} leaves is {}", need, budget.room.limit,
                         budget.room.bytes / kDefaultShare);
    }
  } else {
    if (exceeds(budget.most_bytes)) {
      return fmt::format("{}, and the budget is {}", need, budget.most_bytes);
    }
    if (exceeds(budget.room.bytes)) {
      return fmt::format("{}, and {} leaves {}", need, budget.room.limit, budget.room.bytes);
    }
  }
  if (exceeds(budget.free_bytes)) {
    return fmt::format("{}, and the tmpfs has {} left", need, budget.free_bytes);
  }
  return {};
}

FreezeChoice choose_freeze_memory(const ClaimedVm& claimed, const ExaminedVm& examined,
                                  const MemoryFileChoice& choice, const PauseOptions& options,
                                  const Uuid& pause_id) {
  FreezeChoice chosen;
  chosen.reason = why_disk(claimed, choice, options);
  if (!chosen.reason.empty()) return chosen;
  auto reserved = reserve_for(claimed, examined, options, pause_id);
  if (!reserved) {
    chosen.reason = one_line(reserved.error());
    return chosen;
  }
  chosen.reason = "the VM runs on before its diff is on the disk";
  chosen.memory.emplace(std::move(*reserved));
  return chosen;
}

}  // namespace lamina::lifecycle
