// Describing a snapshot: its layers, and where each part of the memory is.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lamina/header_format.h"
#include "lamina/pause_record.h"
#include "lamina/result.h"
#include "lamina/uuid.h"

namespace lamina {

/// What the file of a layer tells, and a header does not. Blocks have 4096 bytes.
struct LayerFileInfo {
  std::string path;               ///< when it was opened: a merge or removal may end it
  std::string layout;             ///< "compact" or "adopted"; "unknown" for a file without trailer
  std::uint64_t dead_blocks = 0;  ///< stored, and not used by this snapshot
  std::uint64_t size_bytes = 0;
  std::uint64_t allocated_bytes = 0;
  std::uint64_t link_count = 0;  ///< names of the file: each snapshot or pin that shares it has one
};

struct LayerInfo {
  Uuid build_id;
  std::optional<bool> has_checksums;  ///< absent if only a version 1 or 3 header was inspected
  std::uint64_t live_blocks = 0;      ///< used by this snapshot
  std::uint64_t extents = 0;          ///< extents of the snapshot that are in this layer
  std::optional<LayerFileInfo> file;  ///< absent if only a header was inspected
};

/// A run of memory, and where its data is. All four numbers are in bytes.
struct ExtentInfo {
  std::uint64_t offset_bytes = 0;  ///< in the guest's memory
  std::uint64_t length_bytes = 0;
  std::optional<std::uint32_t> layer;      ///< index into SnapshotInfo::layers; absent: zeros
  std::uint64_t storage_offset_bytes = 0;  ///< in the layer's file; 0 for zeros
};

/// How much of what one resume needed was in its working set. Blocks have 4096 bytes.
struct ResumeCoverage {
  std::string time;                ///< when the recording ended: RFC 3339, UTC
  bool was_replayed = false;       ///< the working set was filled in advance
  std::uint64_t used_blocks = 0;   ///< filled in advance, or on a fault
  std::uint64_t known_blocks = 0;  ///< of those, in the working set
};

struct SnapshotInfo {
  std::string path;  ///< as given
  HeaderFormat header = HeaderFormat::kNative;
  Uuid build_id;                 ///< of the youngest layer
  Uuid base_build_id;            ///< of the oldest layer
  std::optional<Uuid> pause_id;  ///< absent if only a version 1 or 3 header was inspected
  std::optional<Uuid> parent_pause_id;
  std::string created;  ///< RFC 3339, UTC; empty when unknown
  /// Pages of the VM's memory, in Firecracker's words: "None", "2M" or "Transparent". Empty when
  /// unknown. Untrusted text of a file.
  std::string huge_pages;
  std::uint64_t generation = 0;  ///< IngestReport::generation
  std::uint64_t memory_bytes = 0;
  std::uint64_t zero_blocks = 0;               ///< blocks of the memory that are zeros
  std::optional<std::uint64_t> vmstate_bytes;  ///< absent: the snapshot has no VM state
  std::uint32_t windows = 0;                   ///< number of 2 MiB pieces of the memory
  std::uint32_t max_extents_per_window = 0;
  double mean_extents_per_window = 0;
  std::uint64_t working_set_blocks = 0;      ///< blocks in the working set; 0: none, or not usable
  std::vector<ResumeCoverage> last_resumes;  ///< recorded ones, oldest first, at most 16
  bool once = false;                         ///< PauseOptions::once
  bool is_consumed = false;                  ///< it was resumed, if `once`
  /// Absent: the memory was ingested, or an earlier version of lamina has written the snapshot.
  std::optional<PauseRecord> pause;
  std::vector<LayerInfo> layers;    ///< oldest first
  std::vector<ExtentInfo> extents;  ///< in the order of the memory; together they cover it
};

/// Describes a snapshot directory, or a header file by itself. Only reads. Checks the header and
/// the trailers as every reader does; verify() checks the data.
///
/// The result takes memory in proportion to the extents. kNotFound: the path, the header or a layer
/// does not exist; kCorrupt: a file's contents are wrong or of an unknown version; else kFailed.
/// Thread-safe.
Result<SnapshotInfo> inspect(const std::string& path);

}  // namespace lamina
