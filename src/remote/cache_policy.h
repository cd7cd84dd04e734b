// Which snapshots of a cache go, and in which order (docs/remote.md, "Bounded disk"). Pure: it
// knows files by their numbers only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lamina/listing.h"
#include "lamina/uuid.h"

namespace lamina::remote {

struct CachedFile {
  FileUse use;  ///< names that the directory has, and that there are
  bool is_layer = false;
};

/// A snapshot of which the bucket has the state, as far as the store knows.
struct CachedSnapshot {
  std::string name;
  Uuid pause_id;
  std::int64_t last_use_ns = 0;
  std::vector<CachedFile> files;
  std::string kept;  ///< why it must stay; empty: it may go
};

/// Not thread-safe.
class CacheContents {
 public:
  explicit CacheContents(std::vector<CachedSnapshot> snapshots);

  /// Allocated bytes of all snapshots that are still there, those that must stay included. A file
  /// of several names counts once.
  [[nodiscard]] std::uint64_t bytes() const;

  /// The snapshot that goes next: of those that may go, the one that was used least recently; of
  /// several, the first by name. Absent: none may go. A snapshot whose layers all have names
  /// outside of what may go (a pause that was made from it, a pin) must stay: its removal would
  /// free nothing.
  [[nodiscard]] std::optional<std::size_t> next() const;

  [[nodiscard]] const CachedSnapshot& at(std::size_t index) const { return snapshots_[index]; }
  void remove(std::size_t index) { is_gone_[index] = true; }
  void keep(std::size_t index, std::string reason) { snapshots_[index].kept = std::move(reason); }

  /// How many snapshots stay for which reason.
  [[nodiscard]] std::map<std::string, std::size_t> reasons() const;

 private:
  [[nodiscard]] bool is_there(std::size_t index) const { return !is_gone_[index]; }
  /// Of each snapshot, whether it may go and its removal can free a layer.
  [[nodiscard]] std::vector<bool> candidates() const;

  std::vector<CachedSnapshot> snapshots_;
  std::vector<bool> is_gone_;
};

}  // namespace lamina::remote
