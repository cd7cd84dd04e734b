// A store: a directory whose entries are snapshots, with lamina's own directories beside them.
//
//   <store>/<name>/          snapshots
//   <store>/.tmp/<id>/       what is being built and can be built again; locked by its builder
//   <store>/.pending/<id>/   what is being built and holds the only copy of something
//   <store>/.vms/<vm>/       pins: what each running VM was resumed from (store/pin.h)
//   <store>/.maps/<pause>    materialized memory files that VMs map
//   <store>/.counts/<…>      as many bytes as a pause was resumed (store/resume_count.h)
//   <store>/.lock/<name>     lock files, never renamed; those of names that are gone are removed
//
// All of it belongs to the user who writes it (os/owner.h), and is opened from the store's
// descriptor without following links (os/path_walk.h).
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
inline constexpr const char* kLockArea = ".lock";

/// True for the name of one of lamina's own directories in a store.
bool is_area_name(std::string_view name);

/// Opens the directory of a snapshot, a pin or a pin's base by its path, for reading. The store is
/// where the caller says; from there on no link is followed, except one that has a snapshot's name
/// and leads to another name in the same directory.
Result<os::Fd> open_in_store(const std::string& path);

/// Opens `.vms` of a store that is written, and makes it where it is missing; for those who keep
/// their locks and sockets in it without opening the whole store.
Result<os::Fd> make_vms_area(const std::string& store);

/// kUsage when `path`, which exists, leads into one of a store's own directories: what is in there
/// looks like snapshots (pins, what is being built), and no snapshot may be made or removed there.
Status refuse_area(const std::string& path);

/// True when the directory `path` has been opened as a store before.
bool is_store(const std::string& path);

/// Opens lamina's own directory `name` of an open store, made where it is missing (then `made`
/// becomes true, else it stays as it is). kFailed when it is not the effective user's.
Result<os::Fd> make_area(int store, const std::string& store_path, const char* name, bool& made);

/// kFailed when one of lamina's own directories in an open store is a symbolic link, or is not the
/// effective user's.
Status check_areas(int store, const std::string& store_path);

}  // namespace lamina::store
