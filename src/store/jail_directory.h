// The directory `lamina-<id>` in the root of a VM's jail, which a pause or a resume of the VM uses.
// The jail belongs to the VM's user, who can put another directory in its place. So a record has
// its inode too, and another directory is neither read from nor removed.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "lamina/result.h"
#include "lamina/uuid.h"
#include "os/fd.h"

namespace lamina::store {

std::string jail_directory_name(const Uuid& id);

/// True for an absolute path that ends in such a name. A damaged record cannot make lamina remove
/// anything else.
bool is_jail_directory(std::string_view path);

/// The directory in a record.
struct JailDirectory {
  std::string path;  ///< as this process sees it; empty: none
  std::uint64_t inode =
      0;  ///< 0: not known yet; the record is written before the directory is made

  bool operator==(const JailDirectory&) const = default;
};

struct OpenJailDirectory {
  os::Fd root;  ///< root directory of the jail
  os::Fd directory;
  std::string name;
  std::uint32_t user = 0;  ///< its owner
};

/// Opens it without following symbolic links. kNotFound: it does not exist; kFailed: it is another
/// directory, or a mount point.
Result<OpenJailDirectory> open_jail_directory(const JailDirectory& record);

/// Removes it and the files in it. If its inode is not known (lamina was killed after making it and
/// before recording the inode), it is removed only if it is empty. It is not an error if it does
/// not exist.
Status remove_jail_directory(const JailDirectory& record);

}  // namespace lamina::store
