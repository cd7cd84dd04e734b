// Opens a store for writing.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "lamina/result.h"
#include "store/store.h"

namespace lamina::store {

/// Opens the directory `path` for writing. Makes missing areas; in a new store it first checks that
/// the file system can exchange directories (kUnsupported if not). Cleans up what killed processes
/// have left: removes what can be made again, and moves memory files of unfinished adoptions back
/// to where they came from (unless they belong to another store that this one is a copy of).
/// `notes` tells what was done.
Result<Store> open_store(const std::string& path, std::vector<std::string>& notes);

/// Provides the open store for an operation that writes: opens it, or returns the caller's.
/// Thread-safe.
class StoreSource {
 public:
  /// Opens the store for each operation.
  StoreSource() = default;
  /// Returns `kept` to operations on its path, and opens other stores.
  explicit StoreSource(std::shared_ptr<const Store> kept) : kept_(std::move(kept)) {}

  /// The store at `path`, cleaned up as by open_store(). kFailed: the kept store's directory was
  /// renamed or replaced.
  [[nodiscard]] Result<std::shared_ptr<const Store>> open(const std::string& path,
                                                          std::vector<std::string>& notes) const;

  /// kFailed if the kept store's directory was renamed or replaced. REQUIRES: a store is kept.
  [[nodiscard]] Status check_kept() const;

 private:
  std::shared_ptr<const Store> kept_;
};

}  // namespace lamina::store
