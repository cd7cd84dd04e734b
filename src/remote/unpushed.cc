#include "remote/unpushed.h"

#include "lamina/listing.h"
#include "remote/names.h"
#include "remote/retention.h"
#include "store/push_record.h"

namespace lamina::remote {

Result<std::vector<UnpushedState>> unpushed_states(const UnpushedOptions& options,
                                                   const std::string& remote) {
  const auto listing = list_store(options.store);
  if (!listing) return std::unexpected(listing.error());
  const auto is_recorded = [&](const Uuid& pause_id, const std::string& name) {
    return store::pushed_number(options.store, pause_id, remote, name).has_value();
  };
  std::vector<UnpushedState> states;
  for (const SnapshotListing& snapshot : listing->snapshots) {
    if (!snapshot.pause_id || snapshot.error) continue;
    if (!matches_pattern(snapshot.name, options.pattern)) continue;
    const Uuid& pause_id = *snapshot.pause_id;
    if (is_recorded(pause_id, snapshot.name)) continue;
    if (is_recorded(pause_id, conflict_name(snapshot.name, pause_id))) continue;
    states.push_back({snapshot.name, pause_id, snapshot.created});
  }
  return states;
}

}  // namespace lamina::remote
