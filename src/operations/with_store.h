// The operations, with the source of the open store as a parameter. The public functions open the
// store each time.
#pragma once

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
Result<RepairReport> repair(const store::StoreSource& stores, const std::string& snapshot);
Result<UnpackReport> unpack_snapshot(const store::StoreSource& stores,
                                     const UnpackOptions& options);

}  // namespace lamina::operations
