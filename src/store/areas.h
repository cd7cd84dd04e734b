// The layout of a store: a directory of snapshots, with lamina's own directories (areas) beside
// them.
//
//   <store>/<name>/          snapshots
//   <store>/.tmp/<id>/       being built, and can be built again; locked by the builder
//   <store>/.pending/<id>/   being built, and holds the only copy of some data
//   <store>/.vms/<vm>/       pins: the files that each running VM was resumed from (store/pin.h)
//   <store>/.maps/<pause>    materialized memory files that VMs map
//   <store>/.counts/<…>      resume counts (store/resume_count.h)
//   <store>/.pushed/<…>      where in buckets pauses are (store/push_record.h)
//   <store>/.arriving/<id>/  snapshots that are still being fetched (store/arrival.h)
//   <store>/.lock/<name>     lock files, never renamed; removed with the snapshot of that name
//
// All files belong to the store's user (os/owner.h). They are opened relative to the store's
// descriptor, and symbolic links are not followed (os/path_walk.h).
#pragma once

#include <string>
#include <string_view>

#include "lamina/result.h"
#include "os/fd.h"

namespace lamina::store {

inline constexpr const char* kTemporaryArea = ".tmp";
inline constexpr const char* kPendingArea = ".pending";
inline constexpr const char* kVmsArea = ".vms";
inline constexpr const char* kMapsArea = ".maps";
inline constexpr const char* kCountsArea = ".counts";
inline constexpr const char* kPushedArea = ".pushed";
inline constexpr const char* kArrivingArea = ".arriving";
inline constexpr const char* kLockArea = ".lock";

/// The file by which a snapshot's directory is recognized.
inline constexpr const char* kHeaderName = "memfile.header";

/// True for the name of one of lamina's own directories in a store.
bool is_area_name(std::string_view name);

/// Opens the directory of a snapshot, a pin or a pin's base by its path, for reading. Symbolic
/// links in the path of the store are followed. Below the store none is, except a link with a
/// snapshot's name that leads to another name in the same directory.
Result<os::Fd> open_in_store(const std::string& path);

/// Opens `.vms` of a store, and makes it if it is missing. For callers that keep locks and sockets
/// in it and do not open the store itself. kUsage if `store` is a snapshot.
Result<os::Fd> make_vms_area(const std::string& store);

/// kUsage if the existing `path` is in one of a store's areas. Directories in there look like
/// snapshots (pins, unfinished ones), but snapshots may be neither made nor removed there.
Status check_outside_areas(const std::string& path);

/// kUsage if the open directory `path` is a snapshot and not a store: areas are not made in it.
Status check_not_a_snapshot(int directory, const std::string& path);

/// True if the directory `path` has been opened as a store before.
bool is_store(const std::string& path);

/// Opens area `name` of an open store, and makes it if it is missing; then sets `made` to true.
/// kPermission if it does not belong to the effective user.
Result<os::Fd> make_area(int store, const std::string& store_path, const char* name, bool& made);

/// kFailed if an area of an open store is a symbolic link; kPermission if it does not belong to the
/// effective user.
Status check_areas(int store, const std::string& store_path);

}  // namespace lamina::store
