#include "remote/unpushed.h"

#include <algorithm>

#include "lamina/listing.h"
#include "remote/names.h"
#include "remote/retention.h"
#include "store/push_record.h"

namespace lamina::remote {

Result<std::vector<UnpushedState>> unpushed_states(const UnpushedOptions& options,
                                                   const std::string& remote) {
  const auto listing = list_store(options.store);
  if (!listing) return std::unexpected(listing.error());
  const auto is_of_bucket = [&](const store::PushRecord& record) {
    const auto& known = options.bucket_id;
    return !known || (!known->is_nil() && record.may_be_of(*known));
  };
  const auto is_recorded = [&](const Uuid& pause_id, const std::string& name) {
    const auto own = store::find_push_record(options.store, pause_id, remote, name);
    if (own && is_of_bucket(*own)) return true;
    // A conflict may have given it its own name, or that of an ancestor's conflict.
    const auto records = store::push_records_of(options.store, {&pause_id, 1});
    return std::ranges::any_of(records, [&](const store::PushRecord& record) {
      return record.remote == remote && is_conflict_name(record.name, name) && is_of_bucket(record);
    });
  };
  std::vector<UnpushedState> states;
  for (const SnapshotListing& snapshot : listing->snapshots) {
    if (!snapshot.pause_id || snapshot.error) continue;
    if (!matches_pattern(snapshot.name, options.pattern)) continue;
    const Uuid& pause_id = *snapshot.pause_id;
    if (is_recorded(pause_id, snapshot.name)) continue;
    states.push_back({snapshot.name, pause_id, snapshot.created});
  }
  return states;
}

}  // namespace lamina::remote
