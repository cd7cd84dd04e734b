#include "remote/cache_policy.h"

#include <algorithm>
#include <set>

namespace lamina::remote {
namespace {

using FileKey = std::pair<std::uint64_t, std::uint64_t>;

FileKey key_of(const CachedFile& file) { return {file.use.device, file.use.inode}; }

constexpr const char* kHeld = "whose layers all belong to other snapshots or VMs too";

}  // namespace

CacheContents::CacheContents(std::vector<CachedSnapshot> snapshots)
    : snapshots_(std::move(snapshots)), is_gone_(snapshots_.size()) {}

std::uint64_t CacheContents::bytes() const {
  std::set<FileKey> seen;
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < snapshots_.size(); ++i) {
    if (!is_there(i)) continue;
    for (const CachedFile& file : snapshots_[i].files) {
      if (seen.insert(key_of(file)).second) sum += file.use.allocated_bytes;
    }
  }
  return sum;
}

std::vector<bool> CacheContents::candidates() const {
  std::vector<bool> may_go(snapshots_.size());
  for (std::size_t i = 0; i < snapshots_.size(); ++i) {
    may_go[i] = is_there(i) && snapshots_[i].kept.empty();
  }
  // A snapshot that must stay holds its layers, so others may have to stay too.
  for (bool changed = true; changed;) {
    changed = false;
    // A file that a removed snapshot had has fewer links than when it was counted: count those too.
    std::map<FileKey, std::uint64_t> names;
    for (std::size_t i = 0; i < snapshots_.size(); ++i) {
      if (!may_go[i] && is_there(i)) continue;
      for (const CachedFile& file : snapshots_[i].files) names[key_of(file)] += file.use.links_here;
    }
    for (std::size_t i = 0; i < snapshots_.size(); ++i) {
      if (!may_go[i]) continue;
      const auto is_freed = [&](const CachedFile& file) {
        return file.is_layer && names[key_of(file)] >= file.use.link_count;
      };
      if (std::ranges::any_of(snapshots_[i].files, is_freed)) continue;
      may_go[i] = false;
      changed = true;
    }
  }
  return may_go;
}

std::optional<std::size_t> CacheContents::next() const {
  const std::vector<bool> may_go = candidates();
  std::optional<std::size_t> best;
  const auto rank = [&](std::size_t i) {
    return std::pair(snapshots_[i].last_use_ns, std::string_view(snapshots_[i].name));
  };
  for (std::size_t i = 0; i < snapshots_.size(); ++i) {
    if (may_go[i] && (!best || rank(i) < rank(*best))) best = i;
  }
  return best;
}

std::map<std::string, std::size_t> CacheContents::reasons() const {
  const std::vector<bool> may_go = candidates();
  std::map<std::string, std::size_t> counts;
  for (std::size_t i = 0; i < snapshots_.size(); ++i) {
    if (!is_there(i) || may_go[i]) continue;
    ++counts[snapshots_[i].kept.empty() ? kHeld : snapshots_[i].kept];
  }
  return counts;
}

}  // namespace lamina::remote
