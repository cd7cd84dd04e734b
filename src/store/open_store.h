// Opens a store for writing.
#pragma once

#include <memory>
#include <string>
#include <utility>
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

/// Where an operation gets the store that it writes: opened for it, or kept open by its caller.
/// Thread-safe.
class StoreSource {
 public:
  /// Opens one for each operation.
  StoreSource() = default;
  /// Gives `kept` to operations on its path.
  explicit StoreSource(std::shared_ptr<const Store> kept) : kept_(std::move(kept)) {}

  /// The store at `path`, cleaned up as open_store() does. kFailed when the kept store's directory
  /// is not at its path any more.
  [[nodiscard]] Result<std::shared_ptr<const Store>> open(const std::string& path,
                                                          std::vector<std::string>& notes) const;

 private:
  std::shared_ptr<const Store> kept_;
};

}  // namespace lamina::store
