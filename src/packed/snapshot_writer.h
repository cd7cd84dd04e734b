// Writes a packed snapshot, in order.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/chain.h"
#include "lamina/progress.h"
#include "lamina/result.h"
#include "packed/compression.h"
#include "packed/keyring.h"
#include "packed/object_io.h"
#include "packed/pack_writer.h"
#include "packed/packed_snapshot.h"

namespace lamina::packed {

struct SnapshotPackSettings {
  Method method = Method::kZstd;
  std::uint32_t frame_blocks = kDefaultFrameBlocks;
  KeyWrapper* tenant = nullptr;  ///< encrypts everything; null: nothing
  Progress* progress = nullptr;
};

/// Writes the objects of a snapshot, then the contents. Every object gets a key of its own. Not
/// thread-safe. After an error the output is incomplete.
class SnapshotWriter {
 public:
  SnapshotWriter(SnapshotPackSettings settings, Sink sink);

  /// Packs a layer as `name`. Errors as for pack_layer().
  Status add_layer(const engine::Chain& chain, mapping::LayerIndex index, const std::string& name);

  /// Packs a file as `name`, with the permission bits `mode`. Returns the number of its entry.
  Result<std::uint32_t> add_file(const PackedFileInput& input, const std::string& name,
                                 std::uint32_t mode);

  /// Adds another name of the file of entry `target`.
  void add_link(const std::string& name, std::uint32_t target);

  /// Writes contents, keyring and footer. `name` of the snapshot is for people.
  Status finish(const Uuid& pause_id, const std::string& name);

  [[nodiscard]] const std::vector<SnapshotEntry>& entries() const { return contents_.entries; }

 private:
  /// For the object of the next entry.
  Result<PackSettings> settings_for_next();

  SnapshotPackSettings settings_;
  Sink sink_;
  SnapshotContents contents_;
  ObjectKeys keys_;
  std::uint64_t objects_bytes_ = 0;
};

}  // namespace lamina::packed
