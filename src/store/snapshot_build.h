// From a memory file to everything that stands in a snapshot's directory: the scan, the layer's
// trailer, the links to the parent's layers, header and facts. Where the directory is, and how it
// is published, is the caller's.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/memory_scan.h"
#include "format/header.h"
#include "lamina/header_format.h"
#include "lamina/ingest.h"
#include "lamina/progress.h"
#include "lamina/result.h"
#include "os/file.h"
#include "store/snapshot_directory.h"
#include "store/snapshot_facts.h"

namespace lamina::store {

struct BuildInput {
  int memory_file = -1;
  std::string memory_path;  ///< for messages
  os::FileFacts memory_facts;
  MemoryFileKind kind = MemoryFileKind::kFull;  ///< kFull or kDiff
  Layout layout = Layout::kCompact;             ///< kCompact or kAdopted
  Zeros zeros = Zeros::kUnspecified;
  bool refuse_preallocated = false;  ///< as engine::MemoryScan
  bool compare_with_parent = false;
  const std::vector<ByteRange>* written = nullptr;  ///< as engine::MemoryScan
  const OpenSnapshot* parent = nullptr;             ///< null when there is none
  /// Of the state before, also when a full file stands on nothing of it. Of `parent` when empty.
  std::optional<Uuid> parent_pause_id;
  std::string parent_name;  ///< for people
  Uuid build_id;
  Uuid pause_id;
  HeaderFormat header = HeaderFormat::kNative;
  std::string created;  ///< RFC 3339, UTC
  Origin origin;
  Progress* progress = nullptr;
};

/// The directory that is filled: by descriptor, and its path for messages.
struct BuildTarget {
  int directory = -1;
  std::string path;
  /// The layer, open for writing: an empty file (compact), or the memory file itself (adopted).
  int layer = -1;
  std::string layer_path;
};

/// One build. On failure the directory is left with part of it: the caller removes it.
class SnapshotBuild {
 public:
  /// `input` and what it points to must outlive this.
  explicit SnapshotBuild(const BuildInput& input) : input_(input) {}

  /// Reads the memory file; writes and syncs the layer (a compact one gets its data here), links
  /// the parent's layers and working set, writes header and facts, each synced. The directory
  /// itself is not synced. `vmstate` is the digest of a `snapfile` that is there already. kFailed
  /// when the memory file changes while it is read.
  Status run(const BuildTarget& target, const std::optional<format::FileDigest>& vmstate);

  [[nodiscard]] const engine::MemoryScanResult& scanned() const { return scanned_; }
  [[nodiscard]] const format::Header& header() const { return header_; }
  /// Things worth telling a person, one line each.
  [[nodiscard]] std::vector<std::string>& notes() { return notes_; }
  /// Of an adopted layer: the runs whose storage nobody needs once the snapshot is published.
  [[nodiscard]] std::vector<BlockRun> spare_runs() const;

 private:
  Status scan(const BuildTarget& target);
  Status write_trailer(const mapping::Mapping& mapping, const BuildTarget& target);
  Status link_parent_layers(const mapping::Mapping& mapping, const BuildTarget& target);
  void link_working_set(const BuildTarget& target) const;
  Status make_header(mapping::Mapping mapping);

  const BuildInput& input_;
  engine::MemoryScanResult scanned_;
  std::uint64_t data_blocks_ = 0;
  format::Header header_;
  std::vector<std::string> notes_;
};

}  // namespace lamina::store
