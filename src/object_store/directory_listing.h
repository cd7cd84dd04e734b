// The files below a directory in the order of their keys.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "lamina/result.h"
#include "object_store/object_store.h"

namespace lamina::object_store {

/// The directory at the root in which objects are written; its files are not objects.
inline constexpr std::string_view kIncomingName = ".incoming";

struct ListQuery {
  std::string prefix;
  std::string after;
  std::size_t max_keys = 0;
};

/// The first `max_keys` + 1 objects below `root` that the query asks for, in the order of the bytes
/// of their keys ("a-b" before "a/b"). Symbolic links, devices and names that are not keys are left
/// out, and so is what is removed meanwhile.
Result<std::vector<Entry>> list_objects(int root, const ListQuery& query,
                                        const std::string& object);

}  // namespace lamina::object_store
