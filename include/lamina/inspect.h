#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lamina/header_format.h"
#include "lamina/result.h"
#include "lamina/uuid.h"

namespace lamina {

/// What only the file of a layer tells.
struct LayerFileInfo {
  std::string path;
  std::string layout;             ///< "compact", "adopted", or "unknown" for one without trailer
  std::uint64_t dead_blocks = 0;  ///< stored, but superseded
  std::uint64_t size_bytes = 0;
  std::uint64_t allocated_bytes = 0;
  std::uint64_t link_count = 0;  ///< snapshots that share the file
};

struct LayerInfo {
  Uuid build_id;
  std::optional<bool> has_checksums;  ///< nothing when only a version 1 or 3 header was inspected
  std::uint64_t live_blocks = 0;      ///< used by this snapshot
  std::uint64_t extents = 0;          ///< of the mapping
  std::optional<LayerFileInfo> file;  ///< nothing when only a header was inspected
};

/// A run of memory: where its blocks are. `layer` indexes SnapshotInfo::layers; nothing means
/// zeros.
struct ExtentInfo {
  std::uint64_t offset_bytes = 0;
  std::uint64_t length_bytes = 0;
  std::optional<std::uint32_t> layer;
  std::uint64_t storage_offset_bytes = 0;
};

struct SnapshotInfo {
  std::string path;
  HeaderFormat header = HeaderFormat::kNative;
  Uuid build_id;
  Uuid base_build_id;
  std::optional<Uuid> pause_id;  ///< nothing when only a version 1 or 3 header was inspected
  std::optional<Uuid> parent_pause_id;
  std::string created;  ///< RFC 3339, UTC; empty when unknown
  /// Pages of the VM's memory: "None", "2M" or "Transparent"; empty when unknown.
  std::string huge_pages;
  std::uint64_t generation = 0;
  std::uint64_t memory_bytes = 0;
  std::uint64_t zero_blocks = 0;
  std::optional<std::uint64_t> vmstate_bytes;
  std::uint32_t windows = 0;  ///< of 2 MiB
  std::uint32_t max_extents_per_window = 0;
  double mean_extents_per_window = 0;
  std::vector<LayerInfo> layers;  ///< oldest first
  std::vector<ExtentInfo> extents;
};

/// Describes a snapshot directory, or a header file alone. Validates as every reader does.
Result<SnapshotInfo> inspect(const std::string& path);

}  // namespace lamina
