// A store as the console and the report show it.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "base/mutex.h"
#include "lamina/listing.h"
#include "lamina/result.h"
#include "schema/json.h"

namespace lamina::ui {

/// {"store", "totals", "notes", "columns", "rows", "lineage", …}. A row is a list with the values
/// of the columns: thousands of objects with names would be several times as long.
schema::Json store_json(const StoreListing& listing);

/// A listing that is read anew when it is old. Listing a large store takes longer, so it is kept
/// longer. Thread-safe.
class StoreCache {
 public:
  struct Entry {
    StoreListing listing;
    std::string json;  ///< the text of store_json()
  };

  explicit StoreCache(std::string store) : store_(std::move(store)) {}

  Result<std::shared_ptr<const Entry>> get();

  /// The next get() lists the store again: it was changed.
  void forget();

 private:
  using Clock = std::chrono::steady_clock;

  const std::string store_;
  Mutex mutex_;
  std::shared_ptr<const Entry> entry_ LAMINA_GUARDED_BY(mutex_);
  Clock::time_point end_ LAMINA_GUARDED_BY(mutex_);  ///< of the time that the entry is valid
};

}  // namespace lamina::ui
