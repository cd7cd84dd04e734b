// Requests one at a time, for callers that have nothing else to do.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "lamina/progress.h"
#include "lamina/result.h"
#include "object_store/object_store.h"

namespace lamina::object_store {

/// Not thread-safe. While a call waits, the store's other requests go on too, and their completions
/// are called.
class BlockingStore {
 public:
  /// `progress` may be null; it can interrupt every call (kInterrupted), within 200 ms.
  explicit BlockingStore(ObjectStore& store, Progress* progress = nullptr)
      : store_(store), progress_(progress) {}

  /// Waits for the answer of any request.
  Answer run(Request request);

  /// Runs the loop until `is_done` or an interruption. kFailed if the loop fails.
  template <typename Predicate>
  Status wait_until(Predicate is_done) {
    while (!is_done()) LAMINA_RETURN_IF_ERROR(step());
    return {};
  }

  Answer get(const std::string& key, std::uint64_t max_bytes = kMaxSinglePutBytes);
  Answer get_range(const std::string& key, ByteRange range);
  /// `bytes` of at most kMaxSinglePutBytes; for more there is upload_writer.h.
  Answer put(const std::string& key, std::span<const std::byte> bytes,
             Condition condition = Condition::kNone);
  Answer head(const std::string& key);
  Answer remove(const std::string& key);
  /// One page.
  Answer list(const std::string& prefix, const std::string& after = {},
              std::size_t max_keys = kMaxListKeys);

  /// All pages. A failed page fails all of it.
  Result<std::vector<Entry>> list_all(const std::string& prefix);

  [[nodiscard]] ObjectStore& store() { return store_; }

 private:
  Status step();

  ObjectStore& store_;
  Progress* progress_;
};

}  // namespace lamina::object_store
