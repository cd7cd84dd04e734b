// Checks that objects may be reused (docs/remote.md, "Publishing", 3).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "lamina/result.h"
#include "object_store/blocking_store.h"
#include "object_store/object_store.h"
#include "remote/record.h"

namespace lamina::remote {

enum class Finding : std::uint8_t {
  kThere,
  kTombstone,  ///< a collector is about to delete it
  kAbsent,     ///< or it has another size
};

/// Lists the tombstones of each object and then asks for its size, in this order, while other
/// requests run. REQUIRES: a pin that names the objects is stored. Not thread-safe.
class Confirmation {
 public:
  /// Begins. `store` must outlive it.
  Confirmation(object_store::ObjectStore& store, std::vector<Reference> references);
  Confirmation(const Confirmation&) = delete;
  Confirmation& operator=(const Confirmation&) = delete;
  Confirmation(Confirmation&&) = delete;
  Confirmation& operator=(Confirmation&&) = delete;
  /// Gives up what is under way.
  ~Confirmation();

  /// Waits. What was found of each object, in their order; an error of the store, if one has no
  /// answer.
  Result<std::vector<Finding>> finish(object_store::BlockingStore& requests);

  [[nodiscard]] const std::vector<Reference>& references() const { return references_; }

 private:
  void start_more();
  void start(std::size_t place, object_store::Request request, bool is_list);
  void take_list(std::size_t place, const object_store::Answer& answer);
  void take_head(std::size_t place, const object_store::Answer& answer);
  void end(std::size_t place, Finding finding);
  void fail_with(const Error& error);

  object_store::ObjectStore& store_;
  std::vector<Reference> references_;
  std::vector<Finding> findings_;
  std::vector<std::optional<object_store::ObjectStore::RequestId>> requests_;
  std::size_t started_ = 0;
  std::size_t ended_ = 0;
  std::optional<Error> error_;
};

}  // namespace lamina::remote
