// E2B's object storage: <build id>/memfile.header and its neighbours, in a directory or in an
// object store.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "e2b/header.h"
#include "e2b/object_source.h"
#include "lamina/progress.h"
#include "lamina/result.h"
#include "lamina/uuid.h"

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

/// Reads only. Not thread-safe.
class BuildStorage {
 public:
  /// Opens a directory, or what a URL names (build_bucket.h). kNotFound: there is no such
  /// directory. `progress` may be null; it can interrupt every wait for an object store.
  static Result<BuildStorage> open(const std::string& place, Progress* progress);

  explicit BuildStorage(std::unique_ptr<ObjectSource> source) : source_(std::move(source)) {}

  /// The path or URL of an object, for messages.
  [[nodiscard]] std::string path_of(const Uuid& build, const std::string& name) const {
    return source_->path_of(build, name);
  }

  /// Opens an object of a build; null: the build or the object does not exist. The object must not
  /// outlive the storage.
  [[nodiscard]] Result<std::unique_ptr<StoredObject>> open_object(const Uuid& build,
                                                                  const std::string& name) const {
    return source_->open(build, name);
  }

  [[nodiscard]] Result<bool> has_object(const Uuid& build, const std::string& name) const {
    return source_->exists(build, name);
  }

  /// The header of a build; absent if it has none. kCorrupt: the message names the object; it is
  /// damaged or another build's.
  [[nodiscard]] Result<std::optional<Header>> read_header(const Uuid& build) const;

  /// The generation in a build's header, without reading the rest of it. Absent: there is no
  /// header, or it is too short.
  [[nodiscard]] Result<std::optional<std::uint64_t>> generation_of(const Uuid& build) const;

  /// A small object; absent if there is none.
  [[nodiscard]] Result<std::optional<std::vector<std::byte>>> read_small(
      const Uuid& build, const std::string& name, std::uint64_t limit_bytes) const;

 private:
  std::unique_ptr<ObjectSource> source_;
};

}  // namespace lamina::e2b
