#include "store/ancestors.h"

#include <algorithm>

#include "store/push_record.h"

namespace lamina::store {

std::vector<Uuid> ancestors_of(const std::optional<SnapshotFacts>& facts) {
  if (!facts) return {};
  if (!facts->ancestors.empty()) return facts->ancestors;
  if (facts->parent_pause_id) return {*facts->parent_pause_id};
  return {};
}

std::vector<Uuid> ancestors_of_child(const Uuid& parent, const std::optional<SnapshotFacts>& facts,
                                     const std::string& store_path) {
  std::vector<Uuid> ancestors = {parent};
  const std::vector<Uuid> before = ancestors_of(facts);
  ancestors.insert(ancestors.end(), before.begin(), before.end());
  if (ancestors.size() <= kMaxAncestors) return ancestors;
  // Those beyond it were found to be pushed when they left the list.
  const auto leaving = ancestors.begin() + kMaxAncestors;
  if (!was_pushed(store_path, *leaving)) ancestors.erase(leaving);
  ancestors.resize(std::min(ancestors.size(), kMaxAncestors + kMaxPushedAncestors));
  return ancestors;
}

}  // namespace lamina::store
