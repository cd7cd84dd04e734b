// The handles of the C interface: numbers in the form of pointers, and what they stand for.
//
// A handle is never dereferenced. Each has a number of its own, so one that is closed, null or of
// another kind is not found, whatever was opened since. Rejected: pointers to the objects, where
// the use of a closed handle is undefined behaviour and could only be documented.
//
// A lookup returns a shared pointer: what a handle stands for lives until the last use of it has
// ended, also if another thread closes the handle meanwhile.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

#include "lamina.h"
#include "lamina/progress.h"
#include "lamina/result.h"
#include "lamina/snapshot.h"
#include "lamina/store.h"

namespace lamina::capi {

/// What a lamina_progress stands for. Thread-safe.
class SharedProgress : public Progress {
 public:
  void begin(std::string_view phase, std::uint64_t total_bytes) override;
  void advance(std::uint64_t bytes) override;
  [[nodiscard]] bool interrupted() override { return cancelled_; }

  void cancel() { cancelled_ = true; }
  /// The state, with the size of this library's struct.
  [[nodiscard]] lamina_progress_state state() const;

 private:
  mutable std::mutex mutex_;
  std::string phase_;
  std::uint64_t phases_ = 0;
  std::uint64_t done_bytes_ = 0;
  std::uint64_t total_bytes_ = 0;
  std::atomic<bool> cancelled_{false};
};

/// A new handle for `object`.
lamina_store* add_handle(std::shared_ptr<const Store> object);
lamina_reader* add_handle(std::shared_ptr<const SnapshotReader> object);
lamina_progress* add_handle(std::shared_ptr<SharedProgress> object);

/// What `handle` stands for. kUsage if it is null, closed, or not such a handle.
Result<std::shared_ptr<const Store>> object_of(const lamina_store* handle);
Result<std::shared_ptr<const SnapshotReader>> object_of(const lamina_reader* handle);
Result<std::shared_ptr<SharedProgress>> object_of(const lamina_progress* handle);

/// Forgets `handle`. kUsage if it is not open; null is nothing to close, and success.
Status remove_handle(const lamina_store* handle);
Status remove_handle(const lamina_reader* handle);
Status remove_handle(const lamina_progress* handle);

}  // namespace lamina::capi
