// Writes a data object of E2B: a stream of blocks, cut into frames that are compressed each.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "e2b/compression.h"
#include "e2b/header.h"
#include "e2b/sha256.h"
#include "engine/write_behind.h"
#include "lamina/result.h"
#include "os/fd.h"

namespace lamina::e2b {

/// Uncompressed bytes of a frame; the last may have fewer. It must be a multiple of the block size
/// of every header that refers to the object: E2B's reader gives zeros otherwise.
inline constexpr std::size_t kFrameDataBytes = std::size_t{2} << 20;

/// The bytes depend on what is written and the versions of zstd and lz4 alone. Not thread-safe.
class DataWriter {
 public:
  /// `file` is empty and open for writing.
  DataWriter(os::Fd file, std::string path, Compression compression);

  Status add(std::span<const std::byte> bytes);
  /// Writes the last frame, and syncs the file.
  Status finish();

  /// REQUIRES: finish() has succeeded. Without any data: the entry that says nothing.
  [[nodiscard]] const BuildEntry& entry() const { return entry_; }
  [[nodiscard]] std::uint64_t object_bytes() const { return object_bytes_; }

 private:
  Status write_frame();

  os::Fd file_;
  std::string path_;
  std::optional<FrameEncoder> encoder_;
  engine::WriteBehind write_behind_;
  Sha256Stream digest_;
  BuildEntry entry_;
  std::vector<std::byte> frame_;
  std::uint64_t object_bytes_ = 0;
};

}  // namespace lamina::e2b
