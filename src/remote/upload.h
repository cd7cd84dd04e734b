// Uploads of several objects: small ones together, a large one in parts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lamina/progress.h"
#include "lamina/result.h"
#include "object_store/blocking_store.h"
#include "object_store/object_store.h"
#include "object_store/upload_writer.h"
#include "operations/rate_limit.h"

namespace lamina::remote {

/// Memory for objects that are on their way, besides the one that is written.
inline constexpr std::uint64_t kMaxBytesOnTheWay = std::uint64_t{32} << 20;

/// Passes on only the question whether to stop.
class StopQuestion final : public Progress {
 public:
  explicit StopQuestion(Progress* inner) : inner_(inner) {}

  void begin(std::string_view /*phase*/, std::uint64_t /*total_bytes*/) override {}
  void advance(std::uint64_t /*bytes*/) override {}
  [[nodiscard]] bool interrupted() override { return inner_ != nullptr && inner_->interrupted(); }

 private:
  Progress* inner_;
};

/// Writes objects one after the other, without waiting for the ends of those before. Each key is
/// that of one writer alone. Not thread-safe.
class Uploads {
 public:
  /// `bytes_per_second`: the limit of what is written; 0: none.
  Uploads(object_store::ObjectStore& bucket, Progress* progress,
          std::uint64_t bytes_per_second = 0);
  Uploads(const Uploads&) = delete;
  Uploads& operator=(const Uploads&) = delete;
  Uploads(Uploads&&) = delete;
  Uploads& operator=(Uploads&&) = delete;
  /// Gives up what is on its way.
  ~Uploads();

  /// Begins the next object; returns its number.
  std::size_t begin(std::string key);
  /// Appends to the object that was begun last. May wait for others.
  Status write(std::span<const std::byte> bytes);
  /// Ends the object that was begun last. kFailed or whatever the store says, if that is known
  /// already.
  Status end();
  /// Drops the object that was begun last.
  void drop();

  /// Waits for all objects, and asks the store for the size of each. Their results, in order.
  std::vector<Status> finish();

 private:
  struct Object {
    std::string key;
    std::vector<std::byte> body;
    std::uint64_t size_bytes = 0;
    std::optional<object_store::ObjectStore::RequestId> put{};  ///< on its way
    bool is_ended = false;
    Status result{};
  };

  void start_put(Object& object);
  [[nodiscard]] Status check_size(const Object& object, const object_store::Answer& head) const;

  object_store::ObjectStore& bucket_;
  Progress* progress_;
  object_store::BlockingStore blocking_;
  std::vector<std::unique_ptr<Object>> objects_;
  std::unique_ptr<object_store::UploadWriter> writer_;  ///< of the last one, if it is large
  std::uint64_t bytes_on_the_way_ = 0;
  StopQuestion stop_;
  std::optional<operations::RateLimitedProgress> rate_;  ///< empty: no limit
};

}  // namespace lamina::remote
