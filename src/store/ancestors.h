// The ancestors of a state: the pause ids of the states that it descends from, newest first.
//
// A push compares them with the newest state in the bucket (docs/remote.md, "Descent"). Merges
// remove layers, and a store need not have any of the older snapshots, so each snapshot carries the
// list itself, in snapshot.json. The list is bounded: it has the last kMaxAncestors, and beyond
// them a few that were pushed, because only a state that was pushed can be in a bucket.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "lamina/uuid.h"
#include "store/snapshot_facts.h"

namespace lamina::store {

inline constexpr std::size_t kMaxAncestors = 64;
/// Ancestors beyond kMaxAncestors that are kept because a push record names them.
inline constexpr std::size_t kMaxPushedAncestors = 8;

/// The ancestors that the facts of a snapshot name. Facts that an earlier version wrote name the
/// parent only.
std::vector<Uuid> ancestors_of(const std::optional<SnapshotFacts>& facts);

/// The ancestors of a state whose parent is the pause `parent` with the facts `facts`: the parent
/// and its ancestors. The one that leaves the last kMaxAncestors stays if the store at `store_path`
/// has a push record of it.
std::vector<Uuid> ancestors_of_child(const Uuid& parent, const std::optional<SnapshotFacts>& facts,
                                     const std::string& store_path);

}  // namespace lamina::store
