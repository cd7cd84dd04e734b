// How often each pause was resumed: a hint for people and policies.
//
//   <store>/.counts/<pause id>@<store>    a file of one byte for each resume
//
// <store> is lasting_name() of the store's identity: counts that came with a copy of another store
// are not this one's.
//
// Appending a byte needs no lock and no reading, and forks of a pause share one count. Nothing is
// synced: a power failure may lose the last ones. The zeros in it mean nothing.
#pragma once

#include <cstdint>
#include <set>

#include "lamina/result.h"
#include "lamina/uuid.h"
#include "store/store.h"

namespace lamina::store {

/// Counts one resume of `pause_id`. A failure is worth a note at most: the resume stands.
Status count_resume(const Store& store, const Uuid& pause_id);

/// How often `pause_id` was resumed from the store with this identity, 0 when nothing is known.
/// `store` is the store's descriptor.
std::uint64_t resume_count(int store, const StoreIdentity& identity, const Uuid& pause_id);

/// Removes the counts of pauses that are not among `kept`, whose ever they are.
Status forget_counts_without(const Store& store, const std::set<Uuid>& kept);

}  // namespace lamina::store
