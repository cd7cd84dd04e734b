#include "store/snapshot_use.h"

#include <fcntl.h>

#include <utility>

#include "base/error.h"
#include "os/directory.h"
#include "os/file.h"
#include "store/snapshot_directory.h"

namespace lamina::store {
namespace {

Result<os::LockedFd> open_header_to_lock(int directory, const std::string& path) {
  LAMINA_ASSIGN_OR_RETURN(os::OpenedFile header,
                          os::open_regular(directory, kHeaderName, O_RDONLY | O_NOFOLLOW,
                                           fmt::format("{}/{}", path, kHeaderName)));
  return os::LockedFd(std::move(header.fd));
}

}  // namespace

Result<os::LockedFd> share_snapshot_use(int directory, const std::string& path) {
  LAMINA_ASSIGN_OR_RETURN(os::LockedFd header, open_header_to_lock(directory, path));
  LAMINA_RETURN_IF_ERROR(os::wait_for_shared_lock(header.get(), path));
  return header;
}

Result<std::optional<os::LockedFd>> hold_snapshot(const std::string& path) {
  while (true) {
    const auto directory = os::open_at(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, path);
    if (!directory) {
      if (directory.error().kind == ErrorKind::kNotFound) return std::nullopt;
      return std::unexpected(directory.error());
    }
    auto held = share_snapshot_use(directory->get(), path);
    if (!held && held.error().kind != ErrorKind::kNotFound) return std::unexpected(held.error());
    // It may have been evicted, or replaced by a pause or a merge, before the lock was there.
    LAMINA_ASSIGN_OR_RETURN(const os::FileFacts opened, os::facts_of(directory->get(), path));
    const auto named = os::facts_of_name(AT_FDCWD, path, path);
    if (!named) {
      if (named.error().kind == ErrorKind::kNotFound) return std::nullopt;
      return std::unexpected(named.error());
    }
    if (!named->same_file(opened)) continue;
    if (!held) return std::nullopt;
    return std::optional(std::move(*held));
  }
}

Result<std::optional<os::LockedFd>> claim_snapshot(int directory, const std::string& path) {
  LAMINA_ASSIGN_OR_RETURN(os::LockedFd header, open_header_to_lock(directory, path));
  LAMINA_ASSIGN_OR_RETURN(const bool is_alone, os::try_lock(header.get(), path));
  if (!is_alone) return std::nullopt;
  return std::optional(std::move(header));
}

}  // namespace lamina::store
