// The files of a local snapshot, opened for a push.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/run.h"
#include "format/header.h"
#include "lamina/progress.h"
#include "lamina/result.h"
#include "mapping/mapping.h"
#include "os/file.h"
#include "packed/object_io.h"
#include "store/snapshot_directory.h"

namespace lamina::remote {

struct LocalFile {
  std::string name;
  std::uint32_t mode = 0;
  std::optional<mapping::LayerIndex> layer{};  ///< of the chain; absent: not a layer
  std::optional<std::uint32_t> target{};       ///< number of the file that this is another name of
  std::optional<std::vector<std::byte>> bytes{};  ///< of a small file
  os::OpenedFile opened{};                        ///< of the others
  std::vector<BlockRun> runs{};                   ///< their data
  bool is_attached = false;  ///< of the caller's, a disk for example; else of lamina's or the VMM's

  [[nodiscard]] bool is_large() const { return !layer && !target && !bytes; }
  /// True for files that are pushed in parts (file_parts.h).
  [[nodiscard]] bool is_in_parts() const { return is_large() && is_attached; }
};

/// A snapshot with all of its files open: what happens to its name does not matter any more.
struct LocalSnapshot {
  store::OpenSnapshot snapshot;
  std::vector<LocalFile> files;  ///< layers first, in the order of the header
};

/// Opens a snapshot with its checksums, and checks the VM state against its digest. If it is
/// replaced meanwhile, opens the new one. kUnsupported: a layer has no checksums (written by
/// wrenn). Else as store::open_snapshot().
Result<LocalSnapshot> open_local_snapshot(const std::string& path);

/// The data of a large file that will be pushed, in bytes.
std::uint64_t data_bytes_of(const LocalSnapshot& local, const LocalFile& file);

/// Size and digest of a large file: XXH3-128 of the numbers of its blocks with data, each followed
/// by XXH3-64 of the block. kInterrupted.
Result<format::FileDigest> digest_of(const LocalFile& file, const std::string& path,
                                     Progress* progress);

}  // namespace lamina::remote
