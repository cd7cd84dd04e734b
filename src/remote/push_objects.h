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
#include "packed/object_io.h"
#include "remote/file_difference.h"
#include "remote/local_files.h"
#include "remote/manifest.h"
#include "remote/pushed_object.h"

namespace lamina::remote {

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
  /// id, places and checksums, files of the same digest, parts of attached files. These are
  /// compared with the file of the same name, else with one that was renamed.
  Status find_in(const Manifest& manifest);

  /// True if there are attached files that were compared with none.
  [[nodiscard]] bool needs_base() const;

  /// Finds unsealed objects of layers that no manifest is known of, by a list of each layer.
  Status find_by_list();

  /// Reads the attached files that were not compared with any. REQUIRES: nothing else is called
  /// before, but what is above.
  Status scan_files();

  /// What a pin must name: the keys of the objects that were found, or uploaded by an earlier
  /// attempt.
  [[nodiscard]] std::vector<std::string> found_keys() const;

  /// The objects that were found, for a Confirmation.
  [[nodiscard]] std::vector<Reference> found() const;

  /// Drops objects, so that their files are missing again.
  void drop(const std::set<std::string>& keys);

  /// True if the snapshot has a working set with blocks that can be packed.
  bool wants_pack();

  /// Uploads what is missing, and a pack of the working set, under names of the push. A pack that
  /// cannot be uploaded is a note. Calls `between` before each object. An
  /// upload that was not acknowledged is done again under another name, a few times.
  Status upload_missing(const Uuid& push_id, const std::function<Status()>& between);

  /// The files and references of the manifest. REQUIRES: nothing is missing.
  void describe(Manifest& manifest) const;

  /// Bytes of local data that will be packed.
  [[nodiscard]] std::uint64_t missing_bytes() const;
  [[nodiscard]] std::uint32_t missing_objects() const;

  [[nodiscard]] std::uint64_t uploaded_bytes() const { return uploaded_bytes_; }
  [[nodiscard]] std::uint32_t uploaded_objects() const {
    return uploaded_objects_ + uploaded_packs_;
  }
  /// One line each.
  [[nodiscard]] const std::vector<std::string>& notes() const { return notes_; }
  [[nodiscard]] std::uint64_t reused_bytes() const;
  [[nodiscard]] std::uint32_t reused_objects() const;

 private:
  class Round;
  struct FoundObject;

  [[nodiscard]] bool needs_object(const LocalFile& file) const {
    return file.layer.has_value() || file.is_large();
  }
  [[nodiscard]] std::string path_of(const LocalFile& file) const;
  [[nodiscard]] const format::Trailer& trailer_of(const LocalFile& file) const;
  [[nodiscard]] std::string next_key(const LocalFile& file, const Uuid& push_id);
  void forget(const FoundObject& found, const std::string& key);
  [[nodiscard]] bool is_missing(std::size_t number) const;
  [[nodiscard]] std::uint64_t bytes_to_send(std::size_t number) const;
  [[nodiscard]] std::vector<FoundObject> found_objects() const;
  [[nodiscard]] const ManifestFile* base_for(const Manifest& manifest, std::size_t number) const;
  Status find_base(const Manifest& manifest, std::size_t number);
  Status find_file(const Manifest& manifest, std::size_t number);
  Result<std::optional<PushedObject>> match_layer(const Manifest& manifest,
                                                  const ManifestFile& there, const LocalFile& file);
  Result<const format::FileDigest*> digest_of_file(std::size_t number);
  Result<std::optional<PushedObject>> match_listed(const object_store::Entry& entry,
                                                   const LocalFile& file);
  Status upload_pack(const Uuid& push_id);
  Result<PushedObject> try_pack(const std::string& key);
  Status upload_round(const Uuid& push_id, const std::function<Status()>& between,
                      std::optional<Error>& failure);

  object_store::ObjectStore& bucket_;
  const LocalSnapshot& local_;
  UploadSettings settings_;
  object_store::BlockingStore blocking_;
  std::map<std::size_t, PushedObject> objects_;  ///< by the number of the local file
  std::set<std::size_t> uploaded_;               ///< of them, those that this process has uploaded
  std::map<std::size_t, format::FileDigest> digests_;
  /// Of attached files; objects_ has their new parts.
  std::map<std::size_t, FileDifference> differences_;
  /// Of the working set; the inner one is absent if it cannot be packed.
  std::optional<std::optional<PackContents>> pack_contents_;
  std::optional<PushedObject> pack_;
  std::vector<std::string> notes_;
  std::uint32_t next_number_ = 0;
  std::uint32_t uploaded_objects_ = 0;
  std::uint32_t uploaded_packs_ = 0;
  std::uint64_t uploaded_bytes_ = 0;
};

}  // namespace lamina::remote
