// The beginning of a pull that lasts (docs/remote.md, "Pulling"): its pin in the bucket, and the
// directory of the arrival (store/arrival.h).
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lamina/remote.h"
#include "lamina/result.h"
#include "packed/pack_reader.h"
#include "remote/bucket.h"
#include "remote/manifest.h"
#include "remote/pull_protection.h"
#include "store/staging.h"
#include "store/store.h"

namespace lamina::remote {

/// A layer that will arrive: its file is in the snapshot's directory.
struct ArrivingFile {
  std::string name;
  const packed::PackReader* reader = nullptr;
};

/// What fetchers that are started later read from the arrival's record must be what was given here:
/// the record is JSON, which cannot represent other bytes than UTF-8. kUsage.
Status check_recorded(const LazyPullOptions& options);

/// Not thread-safe.
class ArrivalStart {
 public:
  explicit ArrivalStart(const LazyPullOptions& options) : options_(options) {}

  /// Begins to protect the objects of a manifest (pull_protection.h), while other requests run.
  /// `store` must outlive this. REQUIRES: there is no earlier protection, or drop_pin() was called.
  void begin_protection(object_store::ObjectStore& store, const Record& record) {
    protection_.emplace(store, record);
  }

  /// Waits, as PullProtection::finish(). REQUIRES: begin_protection().
  Result<bool> finish_protection(Bucket& bucket) { return protection_->finish(bucket); }

  /// Moves the finished directory `snapshot`, and all that is needed to fetch the layers, to the
  /// store's area of arrivals. `record_bytes` is the manifest as it is in the bucket. `snapshot` is
  /// published, in the terms of Staging. REQUIRES: finish_protection() was true.
  Status publish(const store::Store& store, store::Staging& snapshot, Bucket& bucket,
                 const Manifest& manifest, std::span<const std::byte> record_bytes,
                 const std::string& name, const std::vector<ArrivingFile>& layers);

  /// As LazyPullReport::hold, after publish().
  [[nodiscard]] std::shared_ptr<const void> hold() const { return hold_; }

  /// After a failure, or if nothing arrives.
  void drop_pin(Bucket& bucket);

 private:
  const LazyPullOptions& options_;
  std::optional<PullProtection> protection_;
  std::shared_ptr<const void> hold_;
};

}  // namespace lamina::remote
