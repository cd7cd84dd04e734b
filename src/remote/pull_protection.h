// What keeps the objects of a pull that lasts (docs/remote.md, "Pulling"): its pin, and the check
// of each object that follows.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "lamina/result.h"
#include "lamina/uuid.h"
#include "object_store/object_store.h"
#include "remote/bucket.h"
#include "remote/confirmation.h"
#include "remote/record.h"

namespace lamina::remote {

/// The pin of a pull: it names all objects of a manifest. For messages and collectors it has the
/// place of that manifest, whose number is taken, so that a void can never be stored there.
std::vector<std::byte> encode_pull_pin(const Uuid& push_id, const Record& record);

/// Stores a pin, then lists the tombstones of each object, then asks for its size, in this order,
/// while other requests run. Not thread-safe.
class PullProtection {
 public:
  /// Begins. `store` must outlive it.
  PullProtection(object_store::ObjectStore& store, const Record& record);
  PullProtection(const PullProtection&) = delete;
  PullProtection& operator=(const PullProtection&) = delete;
  PullProtection(PullProtection&&) = delete;
  PullProtection& operator=(PullProtection&&) = delete;
  /// Gives up what is under way. The pin stays, if it was stored.
  ~PullProtection();

  /// Waits. True: all objects stay until the pin is deleted or expires. False: one has a tombstone,
  /// or is gone, so they are not protected. Errors: those of the store.
  Result<bool> finish(Bucket& bucket);

  /// Deletes the pin. One that cannot be deleted expires.
  void drop(Bucket& bucket);

  [[nodiscard]] const Uuid& push_id() const { return push_id_; }

 private:
  void take_pin(object_store::Answer answer);

  Uuid push_id_ = Uuid::random();
  std::vector<std::byte> pin_;
  std::vector<Reference> references_;
  object_store::ObjectStore& store_;
  object_store::ObjectStore::RequestId request_{};
  std::optional<object_store::Answer> stored_;  ///< answer to the pin
  std::optional<Confirmation> confirmation_;    ///< after the pin was stored
};

}  // namespace lamina::remote
