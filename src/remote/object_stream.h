// Reads objects from beginning to end, one after the other, and fetches ahead: several ranges are
// under way while the caller decodes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lamina/progress.h"
#include "lamina/result.h"
#include "object_store/blocking_store.h"
#include "packed/object_io.h"

namespace lamina::remote {

/// Bytes of one range, and of all that are fetched ahead.
inline constexpr std::uint64_t kRangeBytes = std::uint64_t{2} << 20;
inline constexpr std::uint64_t kAheadBytes = std::uint64_t{32} << 20;

/// The part of an object that will be read: bytes [begin, bytes).
struct StreamedObject {
  std::string key;
  std::uint64_t bytes = 0;
  std::uint64_t begin = 0;
};

/// Not thread-safe.
class ObjectStream {
 public:
  /// The objects in the order in which they will be read; one may be passed over.
  ObjectStream(object_store::ObjectStore& store, std::vector<StreamedObject> objects,
               Progress* progress);
  ObjectStream(const ObjectStream&) = delete;
  ObjectStream& operator=(const ObjectStream&) = delete;
  ObjectStream(ObjectStream&&) = delete;
  ObjectStream& operator=(ObjectStream&&) = delete;
  /// Gives up what is under way.
  ~ObjectStream();

  /// Reads object `number`, forwards only. kNotFound: the object is absent.
  Status read(std::size_t number, std::uint64_t offset, std::span<std::byte> into);

  /// read() of one object, for packed::unpack_object(). This must outlive it.
  packed::Source source_of(std::size_t number);

  [[nodiscard]] std::uint64_t fetched_bytes() const { return fetched_bytes_; }

 private:
  struct Range {
    std::size_t object = 0;
    std::uint64_t offset = 0;
    std::vector<std::byte> bytes;
    object_store::ObjectStore::RequestId id = 0;
    std::optional<Status> result{};

    [[nodiscard]] std::uint64_t end() const { return offset + bytes.size(); }
  };

  void fetch_ahead();
  void drop_first();
  /// True if the range is wholly before that place.
  static bool is_before(const Range& range, std::size_t number, std::uint64_t offset);
  Result<Range*> range_at(std::size_t number, std::uint64_t offset);

  object_store::ObjectStore& store_;
  object_store::BlockingStore blocking_;
  std::vector<StreamedObject> objects_;
  std::size_t next_object_ = 0;
  std::uint64_t next_offset_ = 0;
  std::deque<std::unique_ptr<Range>> ranges_;
  std::uint64_t ahead_bytes_ = 0;
  std::uint64_t fetched_bytes_ = 0;
};

}  // namespace lamina::remote
