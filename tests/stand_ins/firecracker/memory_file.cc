#include "stand_ins/firecracker/memory_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/error.h"
#include "os/fd.h"

namespace lamina::tests {
namespace {

std::unexpected<Error> backing_file_failure(const char* call) {
  return fail(ErrorKind::kFailed, "Cannot perform {} on the memory backing file: {}", call,
              os_error_text(errno));
}

std::unexpected<Error> dump_failure(int error_number) {
  return fail(ErrorKind::kFailed, "Cannot write memory file: Cannot dump memory: {}",
              os_error_text(error_number));
}

Result<os::Fd> open_memory_file(const std::string& path, std::uint64_t bytes) {
  struct stat facts{};
  const bool existed = ::stat(path.c_str(), &facts) == 0;
  os::Fd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0666));
  if (!file.valid()) return backing_file_failure("open");
  const bool other_size = existed && static_cast<std::uint64_t>(facts.st_size) != bytes;
  if (other_size && ::ftruncate(file.get(), 0) != 0) return backing_file_failure("set_length");
  if (::ftruncate(file.get(), static_cast<off_t>(bytes)) != 0) {
    return backing_file_failure("set_length");
  }
  return file;
}

/// The kernel reads the guest's memory here, so what is missing comes from the page server.
Status write_run(int file, std::span<const std::byte> bytes, off_t offset) {
  while (!bytes.empty()) {
    const ssize_t done = ::pwrite(file, bytes.data(), bytes.size(), offset);
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) return dump_failure(errno);
    bytes = bytes.subspan(static_cast<std::size_t>(done));
    offset += done;
  }
  return {};
}

Status dump(int file, const GuestMapping& mapping, const std::vector<bool>& chosen, Disk disk) {
  std::size_t left = 0;
  for (const bool is_chosen : chosen) left += is_chosen ? 1 : 0;
  if (disk == Disk::kFull) left /= 2;
  for (const GuestRegion& region : mapping.regions()) {
    const std::size_t first = region.memory_offset / kGuestPageBytes;
    const std::size_t end = first + region.size_bytes / kGuestPageBytes;
    for (std::size_t page = first; page < end && left > 0; ++page) {
      std::size_t count = 0;
      while (page + count < end && chosen[page + count] && count < left) ++count;
      if (count == 0) continue;
      LAMINA_RETURN_IF_ERROR(write_run(file, {mapping.page(page).data(), count * kGuestPageBytes},
                                       static_cast<off_t>(page * kGuestPageBytes)));
      page += count - 1;
      left -= count;
    }
  }
  if (disk == Disk::kFull) return dump_failure(ENOSPC);
  return {};
}

}  // namespace

Status write_memory_file(const std::string& path, MemoryFileKind kind, Guest& guest, Disk disk) {
  const std::uint64_t bytes = std::uint64_t{guest.mapping().pages()} * kGuestPageBytes;
  LAMINA_ASSIGN_OR_RETURN(const os::Fd file, open_memory_file(path, bytes));
  std::vector<bool> chosen =
      kind == MemoryFileKind::kFull ? std::vector<bool>(guest.pages(), true) : guest.dirty();
  chosen.resize(guest.mapping().pages(), false);
  LAMINA_RETURN_IF_ERROR(dump(file.get(), guest.mapping(), chosen, disk));
  guest.clear_dirty();
  if (::fsync(file.get()) != 0) return backing_file_failure("sync_all");
  return {};
}

}  // namespace lamina::tests
