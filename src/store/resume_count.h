// Resume counts: how often each pause was resumed, for people and policies.
//
//   <store>/.counts/<pause id>@<store>    a file with one byte for each resume
//
// <store> is stable_name() of the store's identity, so a copy of a store counts anew.
//
// Counting appends a zero byte, under a lock of the file, so that each resume has its own number.
// Forks of a pause share one count. Nothing is synced: a power failure may lose the last resumes.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "lamina/result.h"
#include "lamina/uuid.h"
#include "store/store.h"

namespace lamina::store {

/// Counts one resume of `pause_id`, and returns its number, from 1. Resumes at the same time get
/// different numbers. (After a power failure a number may be given again.)
Result<std::uint64_t> count_resume(const Store& store, const Uuid& pause_id);

/// How often `pause_id` was resumed from the store with this identity; 0 if unknown. `store` is the
/// store's descriptor.
std::uint64_t resume_count(int store, const StoreIdentity& identity, const Uuid& pause_id);

/// When `pause_id` was last resumed, in ns since the epoch, by this host's clock; 0: never, as far
/// as the store knows. A power failure may lose it, and a copy of the store does not have it.
std::int64_t last_resume_ns(int store, const StoreIdentity& identity, const Uuid& pause_id);

/// The names of the files in the area of counts, with the marks of `--once`.
Result<std::vector<std::string>> list_counts(const Store& store);

/// Those of `names` (list_counts()) whose pauses are not in `kept`, also of other stores. The names
/// are to be listed before the pauses are: one that is counted or marked meanwhile is not among
/// them, so it stays.
std::vector<std::string> counts_except(const std::vector<std::string>& names,
                                       const std::set<Uuid>& kept);

/// Removes the files `names` of the area of counts.
Status remove_counts(const Store& store, const std::vector<std::string>& names);

}  // namespace lamina::store
