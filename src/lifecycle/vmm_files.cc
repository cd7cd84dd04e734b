#include "lifecycle/vmm_files.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/error.h"
#include "os/directory.h"
#include "os/file.h"
#include "os/range_copy.h"
#include "os/read_lease.h"

namespace lamina::lifecycle {
namespace {

constexpr std::uint32_t kPrivateMode = 0600;

}  // namespace

Status move_from_jail(const store::OpenJailDirectory& jail, const std::string& jail_path, int to,
                      const std::string& to_path, const std::string& name) {
  const int from = jail.directory.get();
  const std::string source_path = jail_path + "/" + name;
  const std::string target_path = to_path + "/" + name;
  const auto source = os::open_regular(from, name, O_RDONLY | O_NOFOLLOW, source_path);
  if (!source) {
    if (source.error().kind == ErrorKind::kNotFound) return {};
    return std::unexpected(source.error());
  }
  // The VMM's user made this name, and may have linked another user's file there.
  if (source->facts.user != jail.user) {
    return fail(
        ErrorKind::kPermission,
        "'{}' belongs to user {}, not to user {}, whose VM was to write it: it is not taken",
        source_path, source->facts.user, jail.user);
  }
  if (source->facts.link_count == 1 && ::renameat(from, name.c_str(), to, name.c_str()) == 0) {
    // The rename went by name, and the owner of the directory may have exchanged the file: what has
    // arrived must be the file that was checked, without other names.
    LAMINA_ASSIGN_OR_RETURN(const os::OpenedFile moved,
                            os::open_regular(to, name, O_RDONLY | O_NOFOLLOW, target_path));
    if (moved.facts.same_file(source->facts) && moved.facts.link_count == 1) {
      LAMINA_RETURN_IF_ERROR(os::take_ownership(moved.fd.get(), target_path));
      return os::set_mode(moved.fd.get(), kPrivateMode, target_path);
    }
  }
  // Under a temporary name until it is complete: the file under the final name may be the only copy
  // by now.
  LAMINA_RETURN_IF_ERROR(os::remove_file(to, kUnfinishedCopyName, target_path));
  LAMINA_ASSIGN_OR_RETURN(const os::Fd copy,
                          os::copy_to_new_file(source->fd.get(), source->facts.size_bytes,
                                               source_path, to, kUnfinishedCopyName, target_path));
  LAMINA_RETURN_IF_ERROR(os::sync(copy.get(), target_path));
  LAMINA_RETURN_IF_ERROR(os::rename_over(to, kUnfinishedCopyName, to, name, target_path));
  LAMINA_RETURN_IF_ERROR(os::sync(to, to_path));
  return os::remove_file(from, name, source_path);
}

Status make_private(int directory, const std::string& directory_path, const std::string& name,
                    bool is_foreign) {
  const std::string path = directory_path + "/" + name;
  LAMINA_ASSIGN_OR_RETURN(const os::OpenedFile file,
                          os::open_regular(directory, name, O_RDONLY | O_NOFOLLOW, path));
  if (file.facts.user != ::geteuid()) {
    LAMINA_RETURN_IF_ERROR(os::take_ownership(file.fd.get(), path));
  }
  LAMINA_RETURN_IF_ERROR(os::set_mode(file.fd.get(), kPrivateMode, path));
  const os::Writers writers = os::writers_of(file.fd.get());
  const bool is_others = is_foreign || file.facts.user != ::geteuid();
  const bool is_alone =
      writers == os::Writers::kNone || (writers == os::Writers::kUnknown && !is_others);
  if (is_alone && file.facts.link_count == 1) return {};
  LAMINA_RETURN_IF_ERROR(os::remove_file(directory, kUnfinishedCopyName, path));
  LAMINA_ASSIGN_OR_RETURN(const os::Fd copy, os::open_at(directory, kUnfinishedCopyName,
                                                         O_RDWR | O_CREAT | O_EXCL, path));
  LAMINA_RETURN_IF_ERROR(
      os::copy_through_memory(file.fd.get(), copy.get(), file.facts.size_bytes, path, path));
  LAMINA_RETURN_IF_ERROR(os::sync(copy.get(), path));
  LAMINA_RETURN_IF_ERROR(os::rename_over(directory, kUnfinishedCopyName, directory, name, path));
  return os::sync(directory, directory_path);
}

}  // namespace lamina::lifecycle
