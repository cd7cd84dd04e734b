// Writes an object of any size in order, without knowing its size before.
//
// Up to kMaxSinglePutBytes it is put in one request. A larger one is uploaded in parts of
// kPartBytes, several at a time, while the caller goes on; parts that are not completed are
// removed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lamina/progress.h"
#include "lamina/result.h"
#include "object_store/blocking_store.h"
#include "object_store/object_store.h"

namespace lamina::object_store {

struct UploadOptions {
  /// Parts that are sent at a time; each takes kPartBytes of memory.
  std::size_t max_parallel = 4;
  Limits limits{};
  Progress* progress = nullptr;  ///< may interrupt; may be null
};

/// Not thread-safe. The key must be one that no other writer uses: the write is unconditional.
class UploadWriter {
 public:
  UploadWriter(ObjectStore& store, std::string key, UploadOptions options = {});
  UploadWriter(const UploadWriter&) = delete;
  UploadWriter& operator=(const UploadWriter&) = delete;
  UploadWriter(UploadWriter&&) = delete;
  UploadWriter& operator=(UploadWriter&&) = delete;
  /// Aborts an upload that has not been finished.
  ~UploadWriter();

  /// Appends. May wait for parts to be sent. After an error the object cannot be finished.
  Status write(std::span<const std::byte> bytes);

  /// Completes the object and returns its size in bytes. kFailed if it is not known whether the
  /// object is complete.
  Result<std::uint64_t> finish();

 private:
  struct Part {
    std::vector<std::byte> body;
    ObjectStore::RequestId id = 0;
  };

  Status begin();
  Status send_part(std::size_t size);
  Status wait_for_parts(std::size_t at_most);
  void take_part(unsigned number, const Answer& answer);
  Status complete();
  void abort();
  [[nodiscard]] Request request(Operation operation) const;

  BlockingStore blocking_;
  ObjectStore& store_;
  std::string key_;
  UploadOptions options_;
  std::vector<std::byte> buffer_;
  std::uint64_t size_bytes_ = 0;
  std::string upload_id_;  ///< "": none has begun
  unsigned next_number_ = 1;
  std::map<unsigned, Part> sending_;
  std::vector<UploadedPart> sent_;
  std::optional<Error> failure_;
};

}  // namespace lamina::object_store
