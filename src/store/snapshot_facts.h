// snapshot.json: what is worth knowing of a snapshot besides the header.
//
// With a native header nothing in it is needed to read the memory. With a header of version 1 or 3,
// which has no place for them, it holds the pause id, the digest of the header, and which layers
// have checksums.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "format/header.h"
#include "lamina/result.h"
#include "lamina/uuid.h"

namespace lamina::store {

inline constexpr std::uint64_t kMaxFactsBytes = std::uint64_t{16} << 20;

struct LayerFact {
  Uuid build_id;
  bool has_checksums = false;

  bool operator==(const LayerFact&) const = default;
};

/// Where a state comes from: it may not run as well, or at all, elsewhere. Empty fields are
/// unknown.
struct Origin {
  std::string vmm_version;
  std::string cpu;     ///< vendor and model, as /proc/cpuinfo says
  std::string kernel;  ///< release of the host's kernel
  /// Of the VM's memory, as the machine's configuration says: "None", "2M", "Transparent". A state
  /// with "2M" (hugetlbfs) can be loaded by page faults only.
  std::string huge_pages;

  bool operator==(const Origin&) const = default;
};

struct SnapshotFacts {
  Uuid pause_id;
  Uuid build_id;
  std::optional<Uuid> parent_pause_id;
  std::string parent;   ///< name at the time; for people
  std::string created;  ///< RFC 3339, UTC
  Origin origin;
  std::uint64_t generation = 0;
  std::uint64_t memory_bytes = 0;
  HeaderFormat header_format = HeaderFormat::kNative;
  format::FileDigest header;
  std::optional<format::FileDigest> vmstate;
  std::vector<LayerFact> layers;

  bool operator==(const SnapshotFacts&) const = default;
};

/// Decodes snapshot.json; kCorrupt names the field that is missing or wrong. Unknown fields are
/// ignored.
Result<SnapshotFacts> decode_facts(std::span<const std::byte> bytes);

std::string encode_facts(const SnapshotFacts& facts);

/// Now, as RFC 3339 in UTC.
std::string timestamp_now();

/// A point in time, in seconds since the epoch, as RFC 3339 in UTC.
std::string timestamp_of(std::int64_t seconds);

}  // namespace lamina::store
