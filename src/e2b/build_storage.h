// E2B's object storage, laid out in a directory: DIR/<build id>/memfile.header and its neighbours.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "e2b/header.h"
#include "lamina/result.h"
#include "lamina/uuid.h"
#include "os/fd.h"
#include "os/file.h"

namespace lamina::e2b {

inline constexpr const char* kMemoryName = "memfile";  ///< and .zstd or .lz4 if compressed
inline constexpr const char* kHeaderName = "memfile.header";
inline constexpr const char* kVmStateName = "snapfile";
inline constexpr const char* kMetadataName = "metadata.json";
/// In a directory that an export made for a layer: its data belongs to other builds' headers and is
/// not a memory. (A data object without a header would be taken for one.)
inline constexpr const char* kLayerMarkName = "lamina.layer";

/// "memfile", "memfile.zstd" or "memfile.lz4".
std::string data_object_name(Compression compression);

/// Reads only. Symbolic links below the directory are not followed.
class BuildStorage {
 public:
  /// kNotFound: there is no such directory.
  static Result<BuildStorage> open(const std::string& path);

  /// DIR/<build id>/name, for messages and for functions that take a path.
  [[nodiscard]] std::string path_of(const Uuid& build, const std::string& name) const;

  /// Opens an object of a build. Absent: the build or the object does not exist.
  [[nodiscard]] Result<std::optional<os::OpenedFile>> open_object(const Uuid& build,
                                                                  const std::string& name) const;

  [[nodiscard]] bool has_object(const Uuid& build, const std::string& name) const;

  /// The header of a build; absent if it has none. kCorrupt: the message names the file; it is
  /// damaged or another build's.
  [[nodiscard]] Result<std::optional<Header>> read_header(const Uuid& build) const;

  /// The generation in a build's header, without reading the rest of it. Absent: there is no
  /// header, or it is too short.
  [[nodiscard]] std::optional<std::uint64_t> generation_of(const Uuid& build) const;

  /// A small object; absent if there is none.
  [[nodiscard]] Result<std::optional<std::vector<std::byte>>> read_small(
      const Uuid& build, const std::string& name, std::uint64_t limit_bytes) const;

 private:
  BuildStorage(std::string path, os::Fd directory)
      : path_(std::move(path)), directory_(std::move(directory)) {}

  /// Absent: there is no such directory.
  [[nodiscard]] Result<std::optional<os::Fd>> open_build(const Uuid& build) const;

  std::string path_;
  os::Fd directory_;
};

}  // namespace lamina::e2b
