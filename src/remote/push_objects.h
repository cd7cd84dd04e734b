// The objects of a push: which ones the bucket has, and the upload of the others (docs/remote.md,
// "Publishing", 3 and 4).
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "lamina/progress.h"
#include "lamina/result.h"
#include "object_store/blocking_store.h"
#include "object_store/object_store.h"
#include "packed/data_key.h"
#include "packed/object_io.h"
#include "remote/local_files.h"
#include "remote/manifest.h"

namespace lamina::remote {

/// An object that has, or may have, the contents of a local file.
struct PushedObject {
  Reference reference;
  std::vector<std::byte> footer;
  std::vector<std::byte> index;                  ///< as stored
  std::optional<packed::DataKey> key{};          ///< sealed
  std::optional<format::FileDigest> contents{};  ///< of a large file
};

struct UploadSettings {
  packed::Method method = packed::Method::kZstd;
  std::uint32_t frame_blocks = 0;  ///< 0: by the size of the layer
  bool is_sealed = false;
  std::uint64_t rate_limit_bytes_s = 0;  ///< of what is sent; 0: none
  Progress* progress = nullptr;
};

/// The objects of one snapshot. Not thread-safe.
class PushObjects {
 public:
  PushObjects(object_store::ObjectStore& bucket, const LocalSnapshot& local,
              UploadSettings settings);

  /// Finds objects in `manifest` that have the contents of local files: layers of the same build
  /// id, places and checksums, files of the same digest.
  Status find_in(const Manifest& manifest);

  /// Finds unsealed objects of layers that no manifest is known of, by a list of each layer.
  Status find_by_list();

  /// What a pin must name: the keys of the objects that were found, or uploaded by an earlier
  /// attempt.
  [[nodiscard]] std::vector<std::string> found_keys() const;

  /// The objects that were found, for a Confirmation.
  [[nodiscard]] std::vector<Reference> found() const;

  /// Drops objects, so that their files are missing again.
  void drop(const std::set<std::string>& keys);

  /// Uploads what is missing, under names of the push. Calls `between` before each object. An
  /// upload that was not acknowledged is done again under another name, a few times.
  Status upload_missing(const Uuid& push_id, const std::function<Status()>& between);

  /// The files and references of the manifest. REQUIRES: nothing is missing.
  void describe(Manifest& manifest) const;

  /// Bytes of local data that will be packed.
  [[nodiscard]] std::uint64_t missing_bytes() const;
  [[nodiscard]] std::uint32_t missing_objects() const;

  [[nodiscard]] std::uint64_t uploaded_bytes() const { return uploaded_bytes_; }
  [[nodiscard]] std::uint32_t uploaded_objects() const { return uploaded_objects_; }
  [[nodiscard]] std::uint64_t reused_bytes() const;
  [[nodiscard]] std::uint32_t reused_objects() const;

 private:
  class Round;

  [[nodiscard]] bool needs_object(const LocalFile& file) const {
    return file.layer.has_value() || file.is_large();
  }
  [[nodiscard]] std::string path_of(const LocalFile& file) const;
  [[nodiscard]] const format::Trailer& trailer_of(const LocalFile& file) const;
  [[nodiscard]] std::string next_key(const LocalFile& file, const Uuid& push_id);
  Status find_file(const Manifest& manifest, std::size_t number);
  Result<std::optional<PushedObject>> match_layer(const Manifest& manifest,
                                                  const ManifestFile& there, const LocalFile& file);
  Result<const format::FileDigest*> digest_of_file(std::size_t number);
  Result<std::optional<PushedObject>> match_listed(const object_store::Entry& entry,
                                                   const LocalFile& file);
  Status upload_round(const Uuid& push_id, const std::function<Status()>& between,
                      std::optional<Error>& failure);

  object_store::ObjectStore& bucket_;
  const LocalSnapshot& local_;
  UploadSettings settings_;
  object_store::BlockingStore blocking_;
  std::map<std::size_t, PushedObject> objects_;  ///< by the number of the local file
  std::set<std::size_t> uploaded_;               ///< of them, those that this process has uploaded
  std::map<std::size_t, format::FileDigest> digests_;
  std::uint32_t next_number_ = 0;
  std::uint32_t uploaded_objects_ = 0;
  std::uint64_t uploaded_bytes_ = 0;
};

}  // namespace lamina::remote
