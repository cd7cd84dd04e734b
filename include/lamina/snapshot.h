// Reading a snapshot's memory in place.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "lamina/inspect.h"
#include "lamina/result.h"

namespace lamina {

/// An open snapshot. It is read by descriptor: if the snapshot of that name is merged, replaced or
/// removed afterwards, the reader still reads the state that it has opened (and keeps the space of
/// its files). Copies of a reader share its open files, one descriptor for each layer, and its
/// info(). Thread-safe. A reader that was moved from can only be assigned or destroyed.
class SnapshotReader {
 public:
  /// Opens the snapshot at `path` (STORE/NAME) and checks its header, its snapshot.json and the
  /// trailer of each layer. Needs no right to write. Keep the reader for many reads: opening reads
  /// the metadata of all extents and blocks. kNotFound: the snapshot or a layer does not exist;
  /// kUsage: `path` is a file; kCorrupt: a file's contents are wrong or of an unknown version; else
  /// kFailed.
  static Result<SnapshotReader> open(const std::string& path);

  /// Layers, extents, pause ids, as they were when the snapshot was opened. Valid as long as this
  /// reader or a copy of it. The paths in it may name other files by now, or none.
  [[nodiscard]] const SnapshotInfo& info() const;
  [[nodiscard]] std::uint64_t memory_bytes() const;

  /// Reads the guest's memory at [offset_bytes, offset_bytes + buffer.size()), of any alignment; an
  /// empty range is permitted. Every block of 4096 bytes that the range touches is read whole and
  /// compared with its checksum, if its layer has any (LayerInfo::has_checksums). kUsage: the range
  /// exceeds the memory; kCorrupt: a block is wrong, and the message names its layer and offset;
  /// else kFailed. `buffer` is undefined after an error.
  [[nodiscard]] Status read(std::uint64_t offset_bytes, std::span<std::byte> buffer) const;

 private:
  struct State;
  explicit SnapshotReader(std::shared_ptr<const State> state) : state_(std::move(state)) {}

  std::shared_ptr<const State> state_;
};

}  // namespace lamina
