// Which blocks and frames of an arriving snapshot are here: one bit each, in a file that the
// fetcher writes and page servers map.
//
//   file := header (4096 bytes) words-of-blocks words-of-frames
//
// A bit is set after the data of its block, and the checksum of that data, have been written to the
// layer's file. So it holds for every process of this boot, also after one was killed. After a
// power failure the bits may be on the disk and the data not: then the boot differs, and the
// fetcher checks every block again. A reader checks each block's checksum anyway.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/run.h"
#include "lamina/result.h"
#include "os/fd.h"
#include "os/shared_mapping.h"

namespace lamina::store {

inline constexpr const char* kArrivalMapName = "here";

// NOLINTNEXTLINE(performance-enum-size): the type of the field in the file.
enum class ArrivalState : std::uint32_t {
  kArriving = 0,
  kWhole = 1,  ///< every block is here, and is on the disk
  kLost = 2,   ///< the bucket does not have it any more
};

/// Thread-safe, and safe between processes. One process at a time writes.
class ArrivalMap {
 public:
  /// Makes the file, with all bits clear, and maps it. Not synced.
  static Result<ArrivalMap> make(int directory, const std::string& directory_path,
                                 std::uint32_t blocks, std::uint32_t frames);
  /// kCorrupt: damaged, or of an unknown version.
  static Result<ArrivalMap> open(int directory, const std::string& directory_path);

  [[nodiscard]] std::uint32_t block_count() const { return blocks_; }
  [[nodiscard]] std::uint32_t frame_count() const { return frames_; }

  /// True if all blocks of `run` are here; blocks behind the end of the memory count as here.
  [[nodiscard]] bool has_blocks(const BlockRun& run) const;
  void set_blocks(const BlockRun& run, bool is_here);

  [[nodiscard]] bool has_frame(std::uint32_t frame) const;
  void set_frame(std::uint32_t frame, bool is_here);
  [[nodiscard]] std::uint32_t frames_here() const;

  [[nodiscard]] ArrivalState state() const;
  void set_state(ArrivalState state);

  /// False if the bits were set in another boot.
  [[nodiscard]] Result<bool> is_of_this_boot() const;
  Status set_this_boot();

  [[nodiscard]] Status sync() const;

 private:
  ArrivalMap() = default;
  static Result<ArrivalMap> map(os::Fd file, const std::string& path, std::uint32_t blocks,
                                std::uint32_t frames);
  [[nodiscard]] std::span<std::uint64_t> block_words() const;
  [[nodiscard]] std::span<std::uint64_t> frame_words() const;

  os::Fd file_;
  std::string path_;
  os::SharedMapping mapping_;
  std::uint32_t blocks_ = 0;
  std::uint32_t frames_ = 0;
};

}  // namespace lamina::store
