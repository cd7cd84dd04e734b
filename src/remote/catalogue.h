// The catalogue: what states a bucket has. It is the list of the records' keys, and the records.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lamina/result.h"
#include "object_store/blocking_store.h"
#include "remote/bucket.h"
#include "remote/record.h"

namespace lamina::remote {

/// A record as a list shows it.
struct ListedRecord {
  RecordPlace place;
  std::uint64_t size_bytes = 0;
  std::chrono::sys_seconds modified{};  ///< by the server's clock
};

struct RecordList {
  std::vector<ListedRecord> records;  ///< by name, then by number
  std::uint64_t other_keys = 0;       ///< keys below v1/snapshots/ that are not a record's
  std::optional<std::chrono::sys_seconds> server_time;
};

/// The records of `name` with a number above `after`. REQUIRES: check_name(name).
Result<RecordList> list_records(object_store::BlockingStore& store, const std::string& name,
                                std::uint64_t after = 0);

/// The records of all names.
Result<RecordList> list_all_records(object_store::BlockingStore& store);

/// Reads the public parts of records, several at a time, in their order. kNotFound of one: it is
/// gone, and a list says so too. kCorrupt: it cannot be decoded, or was made for another bucket.
std::vector<Result<PublicPart>> read_public_parts(Bucket& bucket,
                                                  const std::vector<ListedRecord>& records);

/// A record, and its bytes.
struct ReadRecord {
  PublicPart part;
  std::vector<std::byte> bytes;

  [[nodiscard]] const Record& record() const { return part.record; }
};

/// Reads and decodes a record. kNotFound: it is gone, and a list says so too. Other errors: those
/// of read_record(), decode_record() and Bucket::check().
Result<ReadRecord> read_and_decode(Bucket& bucket, const RecordPlace& place);

/// The reading of a record, which goes on while other requests run.
class RecordRead {
 public:
  RecordRead(Bucket& bucket, RecordPlace place);
  RecordRead(const RecordRead&) = delete;
  RecordRead& operator=(const RecordRead&) = delete;
  RecordRead(RecordRead&&) = delete;
  RecordRead& operator=(RecordRead&&) = delete;
  ~RecordRead();

  /// As read_and_decode(). REQUIRES: it was not called before.
  Result<ReadRecord> finish();

 private:
  Bucket& bucket_;
  RecordPlace place_;
  object_store::ObjectStore::RequestId request_{};
  std::optional<object_store::Answer> answer_;
};

/// The newest of these records of one name that is a manifest or a removal; nullopt: there is none.
/// A record that is gone is passed over.
Result<std::optional<ReadRecord>> newest_state(Bucket& bucket,
                                               const std::vector<ListedRecord>& records);

}  // namespace lamina::remote
