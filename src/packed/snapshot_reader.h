// Reads a packed snapshot.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lamina/result.h"
#include "packed/keyring.h"
#include "packed/object_io.h"
#include "packed/pack_reader.h"
#include "packed/packed_snapshot.h"

namespace lamina::packed {

/// The contents of a packed snapshot. Immutable. The messages of errors do not name the file: the
/// caller does.
class PackedSnapshot {
 public:
  /// Reads and checks footer, keyring and contents of a file of `file_bytes` bytes. `tenant` may be
  /// null. kUsage: it is encrypted and there is no key, or there is one and it is not encrypted (it
  /// may have been exchanged). kPermission: it is for another key. kCorrupt.
  static Result<PackedSnapshot> open(const Source& source, std::uint64_t file_bytes,
                                     KeyWrapper* tenant);

  [[nodiscard]] const SnapshotContents& contents() const { return contents_; }
  [[nodiscard]] bool is_sealed() const { return !keys_.empty(); }

  /// Opens the object of an entry, which is not a link, and checks that it is the one that was
  /// packed under that name.
  [[nodiscard]] Result<PackReader> open_entry(const Source& source,
                                              const SnapshotEntry& entry) const;

 private:
  PackedSnapshot() = default;

  Status read_keys(const Source& source, const SnapshotFooter& footer, KeyWrapper* tenant);
  Status read_contents(const Source& source, const SnapshotFooter& footer);

  SnapshotContents contents_;
  ObjectKeys keys_;
};

/// The bytes of one object, from a source of the whole file, which must outlive it.
Source object_source(const Source& source, const SnapshotEntry& entry);

}  // namespace lamina::packed
