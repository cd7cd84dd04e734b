#include "history.h"

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <utility>

namespace lamina::torture {
namespace {

bool is_data(const Change& change) { return change.kind == ChangeKind::kBlock; }

/// A write that is longer than so many blocks is lost as a whole, and its first, middle and last
/// block alone; random states tear it anywhere.
constexpr std::size_t kMaxSingleBlocks = 6;

bool touches(const Change& change, InodeNumber directory) {
  return std::any_of(change.entries.begin(), change.entries.end(),
                     [&](const Assignment& entry) { return entry.directory == directory; });
}

}  // namespace

Model::Model(const History& history, std::optional<std::size_t> ignored_sync)
    : history_(history), ignored_sync_(ignored_sync) {
  std::map<std::pair<InodeNumber, std::string>, std::size_t> last_of_name;
  std::map<InodeNumber, std::size_t> last_of_inode;
  for (std::size_t record = 0; record < history.records.size(); ++record) {
    for (const Change& change : history.records[record].changes) {
      if (change.kind == ChangeKind::kInode) continue;
      Part part{record, &change, {}};
      const std::size_t index = parts_.size();
      const auto follow = [&](auto& last, const auto& key) {
        const auto found = last.find(key);
        if (found != last.end()) part.needs.push_back(found->second);
        last[key] = index;
      };
      if (change.kind == ChangeKind::kSize || change.kind == ChangeKind::kMode) {
        follow(last_of_inode, change.inode);
      }
      for (const Assignment& entry : change.entries) {
        follow(last_of_name, std::pair(entry.directory, entry.name));
      }
      parts_.push_back(std::move(part));
    }
  }
}

void Model::keep_with_needs(std::vector<bool>& kept, std::size_t part) const {
  if (kept[part]) return;
  kept[part] = true;
  for (const std::size_t needed : parts_[part].needs) keep_with_needs(kept, needed);
}

void Model::drop_with_dependents(std::vector<bool>& kept, std::size_t part) const {
  kept[part] = false;
  for (std::size_t later = part + 1; later < parts_.size(); ++later) {
    if (!kept[later]) continue;
    const auto& needs = parts_[later].needs;
    if (std::any_of(needs.begin(), needs.end(), [&](std::size_t need) { return !kept[need]; })) {
      kept[later] = false;
    }
  }
}

std::vector<bool> Model::covered(std::size_t records) const {
  std::vector<bool> kept(parts_.size(), false);
  for (std::size_t sync = 0; sync < records; ++sync) {
    const InodeNumber synced = history_.records[sync].synced;
    if (synced == kNoInode || sync == ignored_sync_) continue;
    for (std::size_t i = 0; i < parts_.size() && parts_[i].record < sync; ++i) {
      const Change& change = *parts_[i].change;
      const bool is_covered =
          change.kind == ChangeKind::kEntries ? touches(change, synced) : change.inode == synced;
      if (is_covered) keep_with_needs(kept, i);
    }
  }
  return kept;
}

Disk Model::disk_of(const CrashState& state) const {
  Disk disk = history_.before;
  static const BlockPointer zeros = Block::of({});
  std::size_t part = 0;
  for (std::size_t record = 0; record < state.records; ++record) {
    for (const Change& change : history_.records[record].changes) {
      if (change.kind == ChangeKind::kInode) {
        disk.apply(change);
        continue;
      }
      if (state.kept[part]) {
        disk.apply(change);
      } else if (state.zero_fill && is_data(change) && change.block &&
                 !disk.find(change.inode)->blocks.contains(change.number)) {
        Change filled = change;
        filled.block = zeros;
        disk.apply(filled);
      }
      ++part;
    }
  }
  disk.prune();
  return disk;
}

std::vector<std::vector<std::size_t>> Model::groups(const CrashState& all,
                                                    const std::vector<bool>& covered) const {
  std::vector<std::vector<std::size_t>> groups;
  std::map<std::size_t, std::vector<std::size_t>> blocks_of;
  for (std::size_t i = 0; i < parts_.size() && parts_[i].record < all.records; ++i) {
    if (covered[i]) continue;
    if (is_data(*parts_[i].change)) {
      blocks_of[parts_[i].record].push_back(i);
    } else {
      groups.push_back({i});
    }
  }
  for (const auto& [record, blocks] : blocks_of) {
    if (blocks.size() <= kMaxSingleBlocks) {
      for (const std::size_t block : blocks) groups.push_back({block});
    } else {
      for (const std::size_t block : {blocks.front(), blocks[blocks.size() / 2], blocks.back()}) {
        groups.push_back({block});
      }
    }
    if (blocks.size() > 1) groups.push_back(blocks);
  }
  return groups;
}

void Model::visit_single_losses(const CrashState& all, const std::vector<bool>& covered,
                                const std::function<void(CrashState)>& visit) const {
  for (const std::vector<std::size_t>& group : groups(all, covered)) {
    CrashState lost = all;
    lost.what = "one part lost";
    for (const std::size_t part : group) drop_with_dependents(lost.kept, part);
    visit(lost);
    if (is_data(*parts_[group.front()].change)) {
      lost.zero_fill = true;
      visit(lost);
    }
    CrashState kept = all;
    kept.what = "one part kept";
    kept.kept = covered;
    for (const std::size_t part : group) keep_with_needs(kept.kept, part);
    visit(std::move(kept));
  }
}

/// What an ordered disk has of the records before `end`: all but data, with or without the sizes
/// that only grow.
std::vector<bool> Model::kept_in_order(std::size_t end, const std::vector<bool>& covered,
                                       bool with_sizes) const {
  std::vector<bool> kept = covered;
  std::map<InodeNumber, std::uint64_t> sizes;
  for (std::size_t i = 0; i < parts_.size() && parts_[i].record < end; ++i) {
    const Change& change = *parts_[i].change;
    if (is_data(change)) continue;
    const bool grows = change.kind == ChangeKind::kSize && change.number >= sizes[change.inode];
    if (change.kind == ChangeKind::kSize) sizes[change.inode] = change.number;
    if (grows && !with_sizes && !covered[i]) continue;
    const auto& needs = parts_[i].needs;
    if (std::all_of(needs.begin(), needs.end(), [&](std::size_t need) { return kept[need]; })) {
      kept[i] = true;
    }
  }
  return kept;
}

void Model::visit_ordered(const CrashState& all, const std::vector<bool>& covered,
                          const std::function<void(CrashState)>& visit) const {
  // What is before the last sync of anything is on the disk, but for data.
  std::size_t first = 0;
  for (std::size_t record = 0; record < all.records; ++record) {
    if (history_.records[record].synced != kNoInode && record != ignored_sync_) first = record;
  }
  for (std::size_t end = first; end <= all.records; ++end) {
    CrashState state = all;
    state.what = "ordered";
    // Sizes that grow come with the data (ext4) or before it (xfs); a cut is never late.
    for (const bool with_sizes : {false, true}) {
      state.kept = kept_in_order(end, covered, with_sizes);
      state.zero_fill = false;
      visit(state);
      if (with_sizes) {
        state.zero_fill = true;
        visit(state);
      }
    }
  }
}

void Model::visit_states(std::size_t records, std::uint64_t seed, std::size_t random,
                         const std::function<void(CrashState)>& visit) const {
  CrashState all{records, std::vector<bool>(parts_.size(), false), false, "all kept"};
  for (std::size_t i = 0; i < parts_.size(); ++i) all.kept[i] = parts_[i].record < records;
  const std::vector<bool> covered = this->covered(records);
  visit(all);
  CrashState none = all;
  none.kept = covered;
  none.what = "all lost";
  visit(none);
  visit_single_losses(all, covered, visit);
  visit_ordered(all, covered, visit);
  std::mt19937_64 generator(seed + records);
  for (std::size_t i = 0; i < random; ++i) {
    CrashState state = none;
    state.what = "random";
    state.zero_fill = generator() % 2 == 0;
    const std::uint64_t chance = 1 + generator() % 7;  // eighths
    for (std::size_t part = 0; part < parts_.size() && parts_[part].record < records; ++part) {
      const auto& needs = parts_[part].needs;
      const bool can = std::all_of(needs.begin(), needs.end(),
                                   [&](std::size_t need) { return state.kept[need]; });
      if (!state.kept[part] && can && generator() % 8 < chance) state.kept[part] = true;
    }
    visit(std::move(state));
  }
}

std::string Model::losses_of(const CrashState& state) const {
  std::string text;
  std::set<std::size_t> told;
  std::size_t lost = 0;
  for (std::size_t i = 0; i < parts_.size() && parts_[i].record < state.records; ++i) {
    if (state.kept[i]) continue;
    ++lost;
    if (!told.insert(parts_[i].record).second || told.size() > 12) continue;
    text += (text.empty() ? "" : "; ") + std::to_string(parts_[i].record) + ": " +
            history_.records[parts_[i].record].what;
  }
  if (lost == 0) return "nothing";
  return std::to_string(lost) + " parts, of " + text;
}

}  // namespace lamina::torture
