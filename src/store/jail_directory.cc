#include "store/jail_directory.h"

#include <fcntl.h>

#include "base/error.h"
#include "os/directory.h"
#include "os/file.h"
#include "os/path_walk.h"

namespace lamina::store {
namespace {

constexpr std::string_view kPrefix = "lamina-";

}  // namespace

std::string jail_directory_name(const Uuid& id) { return std::string(kPrefix) + id.to_string(); }

bool is_jail_directory(std::string_view path) {
  if (!path.starts_with('/')) return false;
  const std::string_view name = path.substr(path.rfind('/') + 1);
  return name.starts_with(kPrefix) && Uuid::parse(name.substr(kPrefix.size())).has_value();
}

Result<OpenJailDirectory> open_jail_directory(const JailDirectory& record) {
  const std::string& path = record.path;
  const std::string root = os::parent_of(path);
  OpenJailDirectory opened;
  opened.name = path.substr(path.rfind('/') + 1);
  LAMINA_ASSIGN_OR_RETURN(opened.root, os::open_directory(AT_FDCWD, root, root));
  LAMINA_ASSIGN_OR_RETURN(opened.directory,
                          os::open_directory(opened.root.get(), opened.name, path));
  LAMINA_ASSIGN_OR_RETURN(const os::FileFacts above, os::facts_of(opened.root.get(), root));
  LAMINA_ASSIGN_OR_RETURN(const os::FileFacts facts, os::facts_of(opened.directory.get(), path));
  opened.user = facts.user;
  // (An inode number counts in one file system only, and only root can mount another one in a
  // jail.)
  if (facts.device != above.device || facts.mount != above.mount) {
    return fail(ErrorKind::kFailed, "'{}' is a mount point; unmount it", path);
  }
  if (record.inode != 0 && facts.inode != record.inode) {
    return fail(
        ErrorKind::kFailed,
        "'{}' is not the directory that was made there; another one has replaced it, and is "
        "left alone",
        path);
  }
  return opened;
}

Status remove_jail_directory(const JailDirectory& record) {
  if (record.path.empty()) return {};
  const auto opened = open_jail_directory(record);
  if (!opened) {
    if (opened.error().kind == ErrorKind::kNotFound) return {};
    return std::unexpected(opened.error());
  }
  if (record.inode != 0) {
    LAMINA_RETURN_IF_ERROR(os::remove_files(opened->directory.get(), record.path));
  }
  return os::remove_directory(opened->root.get(), opened->name, record.path);
}

}  // namespace lamina::store
