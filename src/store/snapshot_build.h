// Builds the contents of a snapshot's directory from a memory file: scans it, writes the layer's
// trailer, links the parent's layers, writes header and facts. The caller makes and publishes the
// directory.
#pragma once

#include <cstdint>
#include <functional>
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
  const OpenSnapshot* parent = nullptr;             ///< null: none
  /// Pause id of the state before, also if a full file does not use its layers. Absent: that of
  /// `parent`.
  std::optional<Uuid> parent_pause_id;
  std::vector<Uuid> ancestors;  ///< of the new state: its parent and the parent's
  std::string parent_name;      ///< for a person
  Uuid build_id;
  Uuid pause_id;
  HeaderFormat header = HeaderFormat::kNative;
  std::string created;  ///< RFC 3339, UTC
  Origin origin;
  bool once = false;
  std::optional<PauseRecord> pause;  ///< how the memory file was taken
  /// Called when the directory can be read as a snapshot without facts, and before its layer and
  /// header are synced. The facts come last: without them the directory counts as unfinished.
  /// Empty: each file is synced when it is written.
  std::function<Status()> when_readable;
  Progress* progress = nullptr;
};

/// The directory to fill, and its path for messages.
struct BuildTarget {
  int directory = -1;
  std::string path;
  /// The layer's file, open for writing: empty (compact), or the memory file itself (adopted).
  int layer = -1;
  std::string layer_path;
};

/// One build. After a failure the directory is incomplete, and the caller removes it.
class SnapshotBuild {
 public:
  /// `input` and what it points to must outlive this.
  explicit SnapshotBuild(const BuildInput& input) : input_(input) {}

  /// Reads the memory file, writes the layer (a compact one with its data), links the parent's
  /// layers and working set, and writes header and facts. Syncs each file, but not the directory.
  /// `vmstate` is the digest of a `snapfile` that is already in the directory. kFailed: the memory
  /// file changed while it was read.
  Status run(const BuildTarget& target, const std::optional<format::FileDigest>& vmstate);

  [[nodiscard]] const engine::MemoryScanResult& scanned() const { return scanned_; }
  [[nodiscard]] const format::Header& header() const { return header_; }
  /// Notes for a person, one line each.
  [[nodiscard]] std::vector<std::string>& notes() { return notes_; }
  /// Runs of an adopted layer whose storage is not needed once the snapshot is published.
  [[nodiscard]] std::vector<BlockRun> spare_runs() const;

 private:
  Status scan(const BuildTarget& target);
  Status write_trailer(const mapping::Mapping& mapping, const BuildTarget& target);
  Status link_parent_layers(const mapping::Mapping& mapping, const BuildTarget& target);
  [[nodiscard]] Status describe_when_readable(const Description& description,
                                              const BuildTarget& target) const;
  void link_working_set(const BuildTarget& target) const;
  Status make_header(mapping::Mapping mapping);

  const BuildInput& input_;
  engine::MemoryScanResult scanned_;
  std::uint64_t data_blocks_ = 0;
  format::Header header_;
  std::vector<std::string> notes_;
};

}  // namespace lamina::store
