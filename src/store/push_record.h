// Push records: where in buckets a pause is.
//
//   <store>/.pushed/<pause id>@<place>    a text: the bucket, the name, the number there, and the
//                                         bucket's id
//
// <place> is a digest of bucket and name. A record is made by a push that was acknowledged, and by
// a pull. The next push of a snapshot that descends from the pause thereby knows the number that it
// descends from. Records are apart from snapshots, which stay as they are. A record replaces an
// older one by a rename, and is on the disk before the push or pull reports success; what a crash
// loses is found again from the pause ids in the bucket.
//
//   <store>/.pushed/<pause id>@<place>.began    an empty file: a push has begun
//
// A mark is made before a push sends anything, and removed with its record. The pause may be in the
// bucket although there is no record yet, or the process died before it wrote one: so descendants
// do not forget it (ancestors.h).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lamina/result.h"
#include "lamina/uuid.h"
#include "store/store.h"

namespace lamina::store {

struct PushRecord {
  std::string remote;  ///< the bucket's name: object_store::ObjectStore::name_of("")
  std::string name;    ///< of the snapshot in the bucket
  std::uint64_t number = 0;
  /// By which a bucket that was made anew under the same URL is recognized.
  std::optional<Uuid> bucket_id{};

  /// False if it is of a bucket with another id. Records of earlier versions have none, and may be
  /// of any.
  [[nodiscard]] bool may_be_of(const Uuid& bucket) const {
    return !bucket_id || *bucket_id == bucket;
  }

  bool operator==(const PushRecord&) const = default;
};

/// Marks that `pause_id` may soon be in `remote` as `name`. kUsage as for write_push_record().
Status mark_push(const Store& store, const Uuid& pause_id, const std::string& remote,
                 const std::string& name);

/// Records where `pause_id` is, and removes the mark. kUsage: a text has a newline, or a field is
/// empty.
Status write_push_record(const Store& store, const Uuid& pause_id, const PushRecord& record);

/// Where `pause_id` is as `name` in `remote`; nullopt: it is not known. `store_path` need not be
/// open for writing. A record that cannot be read is none.
std::optional<PushRecord> find_push_record(const std::string& store_path, const Uuid& pause_id,
                                           const std::string& remote, const std::string& name);

/// When that record was written, in ns since the epoch; 0: there is none.
std::int64_t push_record_ns(const std::string& store_path, const Uuid& pause_id,
                            const std::string& remote, const std::string& name);

/// All records of `pause_ids`, of any bucket and name, in the order of the pauses. What cannot be
/// read is left out.
std::vector<PushRecord> push_records_of(const std::string& store_path,
                                        std::span<const Uuid> pause_ids);

/// True if there is a record or a mark of `pause_id`, of any bucket and name. Reads the names of
/// all records.
bool was_pushed(const std::string& store_path, const Uuid& pause_id);

/// The names of all records and marks.
Result<std::vector<std::string>> list_push_records(const Store& store);

/// Those of `records` that no state needs. Each of `lineages` is a state's pause id and those of
/// its ancestors, newest first; of each bucket and name it needs the first record, and all marks.
///
/// REQUIRES: the records were listed before the states. A state that is made and pushed in between
/// is then not taken for one that is gone.
std::vector<std::string> unneeded_push_records(const std::vector<std::string>& records,
                                               std::span<const std::vector<Uuid>> lineages);

/// Removes records and marks by their names.
Status remove_push_records(const Store& store, const std::vector<std::string>& records);

}  // namespace lamina::store
