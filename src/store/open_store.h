// Opens a store for writing.
#pragma once

#include <string>
#include <vector>

#include "lamina/result.h"
#include "store/open_store.h"
#include "store/store.h"

namespace lamina::store {

/// Opens the directory `path` for writing: makes lamina's own directories where they are missing
/// (trying out first whether the file system can exchange directories: kFailed when not), and
/// cleans up what killed processes left: removes what can be made again, and puts memory files
/// whose adoption did not end back where they came from (not those of another store that this one
/// is a copy of). What it did that a person should know goes to `notes`.
Result<Store> open_store(const std::string& path, std::vector<std::string>& notes);

}  // namespace lamina::store
