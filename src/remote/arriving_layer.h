// The file of a layer while its frames arrive, in any order.
//
// At first it has its final size, the lists of its trailer, and the trailer's footer, which already
// has the digest of all block checksums. Each frame adds blocks and their checksums at their final
// places. With the last one the file is the very layer file that was packed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/run.h"
#include "lamina/result.h"
#include "os/fd.h"
#include "packed/frame_codec.h"
#include "packed/pack_reader.h"

namespace lamina::remote {

/// Gives the empty file `fd` its first contents, and syncs it.
Status begin_arriving_layer(const packed::PackReader& reader, int fd, const std::string& path);

/// Not thread-safe.
class ArrivingLayer {
 public:
  /// `fd`: the file, open for reading and writing.
  static Result<ArrivingLayer> create(packed::PackReader reader, os::Fd fd, std::string path);

  [[nodiscard]] const packed::PackReader& reader() const { return reader_; }
  [[nodiscard]] const std::string& path() const { return path_; }

  /// Decodes a frame, checks it, and writes it. kCorrupt: the bytes are damaged; nothing was
  /// written. Another error: a part may have been written.
  Status place(std::uint32_t frame, std::span<const std::byte> stored);

  /// Writes blocks that came from elsewhere: a run of the guest's, with their checksums. Those that
  /// the layer does not store are left out. They do not make a frame count as here.
  Status place_blocks(BlockRun run, std::span<const std::byte> blocks,
                      std::span<const std::uint64_t> checksums);

  /// True if all blocks of a frame are in the file and match their checksums there.
  [[nodiscard]] Result<bool> is_here(std::uint32_t frame);

  /// The blocks of the guest that a frame stores, as runs.
  void for_each_guest_run(std::uint32_t frame,
                          const std::function<void(const BlockRun&)>& call) const;

  /// Syncs the file, and checks the digest of all block checksums. False: they are not those that
  /// the layer had.
  [[nodiscard]] Result<bool> finish() const;

 private:
  /// A part of a frame that is one run in the guest and in the file.
  struct FramePart {
    std::uint32_t guest_block = 0;
    std::uint32_t storage_block = 0;
    std::uint32_t first = 0;  ///< in the frame
    std::uint32_t count = 0;
  };

  ArrivingLayer(packed::PackReader reader, packed::FrameDecoder decoder, os::Fd fd,
                std::string path);
  template <typename Call>
  Status for_each_part(std::uint32_t frame, Call call) const;
  [[nodiscard]] std::uint64_t column_offset() const;

  packed::PackReader reader_;
  packed::FrameDecoder decoder_;
  os::Fd fd_;
  std::string path_;
  std::vector<std::byte> blocks_;
  std::vector<std::uint64_t> checksums_;
};

}  // namespace lamina::remote
