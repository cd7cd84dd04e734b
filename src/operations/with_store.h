// The operations, with the source of the open store as a parameter. The public functions open the
// store each time.
#pragma once

#include <functional>
#include <string>

#include "lamina/compact.h"
#include "lamina/fork.h"
#include "lamina/ingest.h"
#include "lamina/merge.h"
#include "lamina/pack.h"
#include "lamina/remove.h"
#include "lamina/repair.h"
#include "lamina/result.h"
#include "store/open_store.h"

namespace lamina::operations {

Result<IngestReport> ingest(const store::StoreSource& stores, const IngestOptions& options);
Result<MergeReport> merge(const store::StoreSource& stores, const MergeOptions& options);
Result<CompactReport> compact(const store::StoreSource& stores, const CompactOptions& options);
Result<ForkReport> fork_snapshot(const store::StoreSource& stores, const ForkOptions& options);
Result<RemoveReport> remove_snapshots(const store::StoreSource& stores,
                                      const RemoveOptions& options);
/// Asked while the locks of a removal are held, with the open directory of the snapshot, its path
/// and its name: an error leaves the snapshot as it is, and is that of the removal.
using RemovalCheck =
    std::function<Status(int directory, const std::string& path, const std::string& name)>;

/// remove_snapshots() of one snapshot, if `may_go` permits it. It is taken out by a rename or not
/// at all: without space for that, it stays (kNoSpace). Errors are in the report.
Result<RemoveReport> remove_snapshot_if(const store::StoreSource& stores,
                                        const RemoveOptions& options, const RemovalCheck& may_go);
Result<RepairReport> repair(const store::StoreSource& stores, const std::string& snapshot);
Result<UnpackReport> unpack_snapshot(const store::StoreSource& stores,
                                     const UnpackOptions& options);

}  // namespace lamina::operations
