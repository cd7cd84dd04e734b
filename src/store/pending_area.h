// The names in a store's `.pending` (docs/format.md): what is being built and holds the only copy
// of something is in a directory `<id>`, and the journal that tells what it is beside it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "store/areas.h"
#include "store/store.h"
#include "store/store_identity.h"

namespace lamina::store {

inline constexpr std::string_view kJournalSuffix = ".json";
/// A pause's journal until it takes the place of the one before.
inline constexpr std::string_view kNewJournalSuffix = ".json.new";
inline constexpr std::uint64_t kMaxJournalBytes = std::uint64_t{64} << 10;

/// For messages.
inline std::string pending_path(const Store& store, const std::string& name) {
  return store.path() + "/" + kPendingArea + "/" + name;
}

inline std::string journal_name(const std::string& id) { return id + std::string(kJournalSuffix); }

/// What a journal is about, of whatever version.
struct JournalFacts {
  enum class Kind : std::uint8_t { kOther, kPause, kAdoption };
  Kind kind = Kind::kOther;
  std::optional<StoreIdentity> belongs_to;
};

/// Reads journal `name` in the open pending area, without its lock. Nothing when it is gone, or is
/// not JSON.
std::optional<JournalFacts> look_into_journal(int area, const std::string& name,
                                              const std::string& path);

}  // namespace lamina::store
