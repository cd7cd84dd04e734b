// One build's data object: the bytes that its writer stored, compressed or not.
//
// What is known about an object comes from an entry of the header that refers to it, or else from
// the build's own header (E2B's reader once guessed, and sandboxes could not be started). An entry
// that covers all of the object is checked against it: size, frames without gaps, SHA-256. An entry
// of an ancestor may have only some of its frames.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "e2b/build_storage.h"
#include "e2b/compression.h"
#include "e2b/header.h"
#include "e2b/sha256.h"
#include "lamina/progress.h"
#include "lamina/result.h"
#include "lamina/uuid.h"

namespace lamina::e2b {

/// Largest frame that is read: E2B's have 2 MiB. So a size that is a lie allocates no more.
inline constexpr std::uint32_t kMaxFrameDataBytes = std::uint32_t{64} << 20;

/// Not thread-safe, and must not outlive its storage.
class DataObject {
 public:
  /// Opens the object of `build`, which `header` refers to. kNotFound: there is none; kCorrupt: it
  /// does not have the size that its entry says.
  static Result<DataObject> open(const BuildStorage& storage, const Header& header,
                                 const Uuid& build);

  [[nodiscard]] const std::string& path() const { return path_; }
  /// Bytes of the uncompressed data, as far as they are known: to the end of the last frame.
  [[nodiscard]] std::uint64_t data_bytes() const { return data_bytes_; }
  /// True if the whole can be compared with a SHA-256.
  [[nodiscard]] bool has_digest() const { return has_digest_; }

  struct ReadOptions {
    /// True if some of bytes [offset, end) of the data are needed. It is asked in ascending order,
    /// up to 32 MiB of the object before `take` gets the bytes.
    std::function<bool(std::uint64_t offset, std::uint64_t end)> is_needed;
    /// Takes bytes of the data, in ascending order. Only those of frames that are needed.
    std::function<Status(std::uint64_t offset, std::span<const std::byte> bytes)> take;
    /// Reads all of the object, and compares it with its digest, if it has one.
    bool check_digest = true;
    Progress* progress = nullptr;  ///< asked whether to stop; may be null
  };

  /// Reads the data once, from the beginning to the end. kCorrupt: a frame is damaged, or the
  /// digest is another; the bytes were passed on before the latter is known.
  [[nodiscard]] Status read(const ReadOptions& options);

  /// Bytes of the object that read() has read.
  [[nodiscard]] std::uint64_t read_bytes() const { return read_bytes_; }

 private:
  DataObject() = default;

  Status check_frames(bool is_own);
  Status check_size();

  /// What is read at a time: a frame, or a part of an object that is not compressed.
  struct Part {
    std::uint64_t offset = 0;  ///< in the object
    std::uint64_t bytes = 0;
    std::uint64_t data_offset = 0;
    std::uint64_t data_bytes = 0;
    bool is_needed = false;
  };
  [[nodiscard]] std::uint64_t part_count() const;
  [[nodiscard]] Part part_at(std::uint64_t index) const;
  Status read_parts(const ReadOptions& options, bool all);
  Status read_part(const Part& part, const ReadOptions& options, FrameDecoder& decoder);
  Status pass_on(const ReadOptions& options, std::uint64_t offset, std::span<const std::byte> bytes,
                 bool is_needed);

  std::string path_;
  std::unique_ptr<StoredObject> object_;
  BuildEntry entry_;
  std::uint64_t data_bytes_ = 0;
  bool has_digest_ = false;
  std::uint64_t read_bytes_ = 0;
  std::optional<Sha256Stream> digest_;
  std::vector<std::byte> packed_;
  std::vector<std::byte> plain_;
};

}  // namespace lamina::e2b
