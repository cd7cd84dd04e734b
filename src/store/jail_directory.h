// The directory that a VM's jail has while one of its pauses or resumes needs it: `lamina-<id>`, in
// the jail's root, which is the VM's user's. That user can put any other directory of the jail in
// its place. So a record names it by its inode too, and nothing is taken from, or removed in, a
// directory that is another.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "lamina/result.h"
#include "lamina/uuid.h"
#include "os/fd.h"

namespace lamina::store {

std::string jail_directory_name(const Uuid& id);

/// True for an absolute path that ends in such a name: no record, however damaged, has anything
/// else removed.
bool is_jail_directory(std::string_view path);

/// As records name it.
struct JailDirectory {
  std::string path;         ///< as we see it; empty for none
  std::uint64_t inode = 0;  ///< 0 until it is made: it is on record before

  bool operator==(const JailDirectory&) const = default;
};

/// An open jail's directory.
struct OpenJailDirectory {
  os::Fd root;  ///< the jail's
  os::Fd directory;
  std::string name;
  std::uint32_t user = 0;  ///< whose it is
};

/// Opens it without following links. kNotFound when it is gone; kFailed when it is not the one that
/// was made, or something is mounted there.
Result<OpenJailDirectory> open_jail_directory(const JailDirectory& record);

/// Removes it with the files in it. Of one whose inode is not known, nothing is removed but itself,
/// if it is empty: lamina died between making it and writing that down. What is gone is no error.
Status remove_jail_directory(const JailDirectory& record);

}  // namespace lamina::store
