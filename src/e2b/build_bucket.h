// Builds in an object store: keys "<build id>/<name>" below the URL's prefix, as E2B has them in
// its bucket.
#pragma once

#include <memory>
#include <string>

#include "e2b/object_source.h"
#include "lamina/progress.h"
#include "lamina/result.h"
#include "object_store/object_store.h"

namespace lamina::e2b {

/// An object counts as absent only if the store says so twice: to a HEAD, and by a list. A wrong
/// answer would make a diff without its header a whole memory.
class BuildBucket final : public ObjectSource {
 public:
  /// `store` repeats what fails for a while (object_store/retrying_store.h). `progress` may be
  /// null; it can interrupt every wait.
  BuildBucket(std::unique_ptr<object_store::ObjectStore> store, Progress* progress);

  [[nodiscard]] std::string path_of(const Uuid& build, const std::string& name) const override;
  Result<std::unique_ptr<StoredObject>> open(const Uuid& build, const std::string& name) override;
  Result<bool> exists(const Uuid& build, const std::string& name) override;

 private:
  std::unique_ptr<object_store::ObjectStore> store_;
  Progress* progress_;
};

/// True for "s3://…" and "file://…", and for every other text with a scheme.
bool is_url(const std::string& place);

/// Opens the bucket that a URL names. kUsage: the URL is malformed; kPermission: credentials are
/// configured that cannot be used; kNotFound: a directory does not exist.
Result<std::unique_ptr<ObjectSource>> open_build_bucket(const std::string& url, Progress* progress);

}  // namespace lamina::e2b
