// The lineage of a store's snapshots.
//
// A snapshot records the pause id of its parent, which may have another name by now, several names
// (forks), or none. So the trees are built by pause id. Each snapshot appears once, whatever the
// data: a snapshot that cannot be reached from a root is in a cycle, which only damage or forgery
// makes, and the cycle is cut at its first snapshot.

#include <algorithm>
#include <map>
#include <ranges>
#include <tuple>

#include "lamina/listing.h"

namespace lamina {
namespace {

class Lineage {
 public:
  explicit Lineage(const std::vector<SnapshotListing>& snapshots)
      : snapshots_(snapshots), children_(snapshots.size()), shown_(snapshots.size(), false) {
    for (std::size_t i = 0; i < snapshots.size(); ++i) order_.push_back(i);
    // Forks differ in their names only, so they are next to each other.
    std::sort(order_.begin(), order_.end(), [&](std::size_t a, std::size_t b) {
      const SnapshotListing& x = snapshots_[a];
      const SnapshotListing& y = snapshots_[b];
      return std::tie(x.created, x.pause_id, x.name) < std::tie(y.created, y.pause_id, y.name);
    });
    for (const std::size_t i : order_) {
      const SnapshotListing& snapshot = snapshots_[i];
      if (!snapshot.pause_id) continue;
      by_pause_[*snapshot.pause_id].push_back(i);
      by_name_.emplace(std::pair(*snapshot.pause_id, snapshot.name), i);
    }
  }

  std::vector<LineageRow> run() {
    join();
    for (const std::size_t root : roots_) show(root, 0, {});
    for (const auto& [pause_id, orphans] : orphans_) show_orphans(pause_id, orphans);
    for (const std::size_t i : order_) {
      if (shown_[i]) continue;
      LineageRow root;
      root.in_cycle = true;
      show(i, 0, root);
    }
    return std::move(rows_);
  }

 private:
  void join() {
    for (const std::size_t i : order_) {
      const SnapshotListing& snapshot = snapshots_[i];
      if (!snapshot.parent_pause_id) {
        roots_.push_back(i);
        continue;
      }
      const auto parents = by_pause_.find(*snapshot.parent_pause_id);
      if (parents == by_pause_.end()) {
        orphans_[*snapshot.parent_pause_id].push_back(i);
        continue;
      }
      const auto named = by_name_.find(std::pair(*snapshot.parent_pause_id, snapshot.parent));
      children_[named == by_name_.end() ? parents->second.front() : named->second].push_back(i);
    }
  }

  void show_orphans(const Uuid& pause_id, const std::vector<std::size_t>& orphans) {
    LineageRow row;
    row.missing = pause_id;
    row.missing_name = snapshots_[orphans.front()].parent;
    if (orphans.size() == 1) return show(orphans.front(), 0, row);
    rows_.push_back(row);
    for (const std::size_t orphan : orphans) show(orphan, 1, {});
  }

  /// Lists a tree. Without recursion, because a chain may have any length.
  void show(std::size_t root, std::size_t depth, const LineageRow& root_row) {
    std::vector<std::pair<std::size_t, std::size_t>> open = {{root, depth}};
    while (!open.empty()) {
      const auto [index, at] = open.back();
      open.pop_back();
      if (shown_[index]) continue;
      shown_[index] = true;
      LineageRow row = index == root ? root_row : LineageRow{};
      row.depth = at;
      row.snapshot = index;
      rows_.push_back(std::move(row));
      const std::vector<std::size_t>& children = children_[index];
      for (const std::size_t child : std::views::reverse(children)) {
        open.emplace_back(child, at + 1);
      }
    }
  }

  const std::vector<SnapshotListing>& snapshots_;
  std::vector<std::size_t> order_;  ///< oldest first
  std::map<Uuid, std::vector<std::size_t>> by_pause_;
  std::map<std::pair<Uuid, std::string>, std::size_t> by_name_;
  std::vector<std::vector<std::size_t>> children_;
  std::vector<std::size_t> roots_;
  std::map<Uuid, std::vector<std::size_t>> orphans_;
  std::vector<bool> shown_;
  std::vector<LineageRow> rows_;
};

}  // namespace

std::vector<LineageRow> lineage_of(const std::vector<SnapshotListing>& snapshots) {
  return Lineage(snapshots).run();
}

}  // namespace lamina
