// The beginning of a pull that lasts (docs/remote.md, "Pulling"): its pin in the bucket, and the
// directory of the arrival (store/arrival.h).
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "lamina/remote.h"
#include "lamina/result.h"
#include "lamina/uuid.h"
#include "packed/pack_reader.h"
#include "remote/bucket.h"
#include "remote/manifest.h"
#include "store/staging.h"
#include "store/store.h"

namespace lamina::remote {

/// The pin of a pull: it names all objects of a manifest. For messages and collectors it has the
/// place of that manifest, whose number is taken, so that a void can never be stored there.
std::vector<std::byte> encode_pull_pin(const Uuid& push_id, const Record& record);

/// A layer that will arrive: its file is in the snapshot's directory.
struct ArrivingFile {
  std::string name;
  const packed::PackReader* reader = nullptr;
};

/// Not thread-safe.
class ArrivalStart {
 public:
  explicit ArrivalStart(const LazyPullOptions& options) : options_(options) {}

  /// Stores a pin, then checks that each object is there and has no tombstone. False: one has, or
  /// is gone, and the objects are not protected; the pin was removed.
  Result<bool> protect(Bucket& bucket, const Record& record);

  /// Moves the finished directory `snapshot`, and all that is needed to fetch the layers, to the
  /// store's area of arrivals. `record_bytes` is the manifest as it is in the bucket. `snapshot` is
  /// published, in the terms of Staging.
  Status publish(const store::Store& store, store::Staging& snapshot, Bucket& bucket,
                 const Manifest& manifest, std::span<const std::byte> record_bytes,
                 const std::string& name, const std::vector<ArrivingFile>& layers);

  /// As LazyPullReport::hold, after publish().
  [[nodiscard]] std::shared_ptr<const void> hold() const { return hold_; }

  /// After a failure.
  void drop_pin(Bucket& bucket);

 private:
  const LazyPullOptions& options_;
  Uuid push_id_;
  std::shared_ptr<const void> hold_;
};

}  // namespace lamina::remote
