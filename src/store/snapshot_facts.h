// snapshot.json: facts about a snapshot that are not in its header.
//
// With a native header, the memory can be read without it. A header of version 1 or 3 has no room
// for the pause id, its own digest, and which layers have checksums: those are in snapshot.json.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "format/header.h"
#include "lamina/pause_record.h"
#include "lamina/result.h"
#include "lamina/uuid.h"

namespace lamina::store {

/// The reason of a PauseRecord is cut after so many bytes.
inline constexpr std::size_t kMaxReasonBytes = 1024;

inline constexpr std::uint64_t kMaxFactsBytes = std::uint64_t{16} << 20;

struct LayerFact {
  Uuid build_id;
  bool has_checksums = false;

  bool operator==(const LayerFact&) const = default;
};

/// The host and VMM that made a state; it may not run on another. Empty fields are unknown.
struct Origin {
  std::string vmm_version;
  std::string cpu;     ///< vendor and model, from /proc/cpuinfo
  std::string kernel;  ///< release of the host's kernel
  /// Pages of the VM's memory, from the machine's configuration: "None", "2M", "Transparent". A
  /// state with "2M" (hugetlbfs) can be loaded by page faults only.
  std::string huge_pages;

  bool operator==(const Origin&) const = default;
};

struct SnapshotFacts {
  Uuid pause_id;
  Uuid build_id;
  std::optional<Uuid> parent_pause_id;
  /// Pause ids, newest first; the first is the parent's. Empty in facts of earlier versions: see
  /// ancestors_of() in ancestors.h.
  std::vector<Uuid> ancestors;
  std::string parent;   ///< the parent's name at the time of the pause, for a person
  std::string created;  ///< RFC 3339, UTC
  Origin origin;
  std::uint64_t generation = 0;
  std::uint64_t memory_bytes = 0;
  HeaderFormat header_format = HeaderFormat::kNative;
  format::FileDigest header;
  std::optional<format::FileDigest> vmstate;
  std::vector<LayerFact> layers;
  bool once = false;  ///< may be resumed only once (once_mark.h)
  /// Absent: the memory was ingested, or the snapshot is of an earlier version.
  std::optional<PauseRecord> pause;

  bool operator==(const SnapshotFacts&) const = default;
};

/// Decodes snapshot.json. kCorrupt: the message names the field that is missing or wrong. Unknown
/// fields are ignored.
Result<SnapshotFacts> decode_facts(std::span<const std::byte> bytes);

std::string encode_facts(const SnapshotFacts& facts);

/// The current time: RFC 3339, UTC.
std::string timestamp_now();

/// `seconds` since the epoch as RFC 3339, UTC.
std::string timestamp_of(std::int64_t seconds);

}  // namespace lamina::store
