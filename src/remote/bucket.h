// A bucket: requests to it, and its id (docs/remote.md, "Names").
//
// The id is in v1/format, and in every record and pin. So a record that a server, a cache or an
// operator took from another bucket, or from another prefix of the same one, is not believed: a
// collector that believes it would delete what the right one references.
#pragma once

#include <memory>
#include <optional>
#include <string_view>

#include "lamina/result.h"
#include "lamina/uuid.h"
#include "object_store/blocking_store.h"

namespace lamina::remote {

/// Not thread-safe. Copies have the same identity.
class Bucket : public object_store::BlockingStore {
 public:
  /// Begins to read v1/format. `store` must outlive all copies.
  explicit Bucket(object_store::ObjectStore& store, Progress* progress = nullptr);

  /// The same, of a bucket that had the id `expected` earlier. v1/format is then read only if no
  /// record or pin has that id: the first one that has it (check()) confirms it. A bucket that was
  /// emptied and made anew has another id, and nothing in it has the old one.
  Bucket(object_store::ObjectStore& store, Progress* progress, std::optional<Uuid> expected);

  /// The same bucket; no progress interrupts its requests.
  [[nodiscard]] Bucket uninterruptible() const;

  /// kNotFound: there is no v1/format, so no record can be believed. kCorrupt: it is damaged, or of
  /// a later version.
  Result<Uuid> id();

  /// As id(). Makes v1/format, with a random id, if it is not there.
  Result<Uuid> make_id();

  /// What a GET or HEAD means that was answered with "absent": kNotFound if a list, which this call
  /// sends, does not have the key either; else kFailed. To take a record for absent because of one
  /// wrong answer would make an older state the newest, and its objects unreferenced.
  Error absence_of(const std::string& key);

  /// kCorrupt unless `id`, which the record or pin `key` has, is the bucket's.
  Status check(const Uuid& id, std::string_view key);

 private:
  class Identity;
  Bucket(const BlockingStore& requests, std::shared_ptr<Identity> identity)
      : BlockingStore(requests), identity_(std::move(identity)) {}

  std::shared_ptr<Identity> identity_;
};

/// Its id for a push record; nullopt if it is not known.
std::optional<Uuid> known_id(Bucket& bucket);

/// The contents of v1/format.
std::string encode_format(const Uuid& bucket_id);

/// kCorrupt: damaged, or of a later version.
Result<Uuid> decode_format(std::span<const std::byte> bytes);

}  // namespace lamina::remote
