// The names in a store's `.pending` (docs/format.md): a directory `<id>` that holds the only copy
// of some data, and beside it the journal that describes it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "lamina/result.h"
#include "store/areas.h"
#include "store/store.h"
#include "store/store_identity.h"

namespace lamina::store {

inline constexpr std::string_view kJournalSuffix = ".json";
/// A new version of a pause's journal, before it replaces the old one.
inline constexpr std::string_view kNewJournalSuffix = ".json.new";
inline constexpr std::uint64_t kMaxJournalBytes = std::uint64_t{64} << 10;

/// The path of an entry, for messages.
inline std::string pending_path(const Store& store, const std::string& name) {
  return store.path() + "/" + kPendingArea + "/" + name;
}

inline std::string journal_name(const std::string& id) { return id + std::string(kJournalSuffix); }

/// Replaces the journal of entry `id`; on the disk only after sync_pending_area().
Status replace_journal(const Store& store, const std::string& id, std::string_view text);

/// Makes the names in the area durable.
Status sync_pending_area(const Store& store);

/// The facts of a journal that are the same in all versions.
struct JournalFacts {
  enum class Kind : std::uint8_t { kOther, kPause, kAdoption };
  Kind kind = Kind::kOther;
  std::optional<StoreIdentity> belongs_to;
};

/// Reads journal `name` in the open pending area, without its lock. Empty if it does not exist, or
/// is not JSON.
std::optional<JournalFacts> read_journal_facts(int area, const std::string& name,
                                               const std::string& path);

}  // namespace lamina::store
