// The directory that a VM's jail has while one of its pauses or resumes needs it, as its records
// name it: `lamina-<id>`, somewhere.
#pragma once

#include <string>
#include <string_view>

#include "lamina/uuid.h"

namespace lamina::store {

std::string jail_directory_name(const Uuid& id);

/// True for an absolute path that ends in such a name: no record, however damaged, has anything
/// else removed.
bool is_jail_directory(std::string_view path);

}  // namespace lamina::store
