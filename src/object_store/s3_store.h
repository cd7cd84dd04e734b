// An object store that speaks S3: AWS, Ceph, SeaweedFS, versitygw, R2, MinIO.
//
// Over TLS the body is not part of the signature (UNSIGNED-PAYLOAD); over plain HTTP its SHA-256
// is. Every body has a Content-MD5, because servers check that, while not all check the SHA-256.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>

#include "lamina/result.h"
#include "object_store/credential_source.h"
#include "object_store/object_store.h"
#include "object_store/s3_request.h"

namespace lamina::object_store {

struct S3Options {
  S3Location location;
  std::unique_ptr<CredentialSource> credentials;
  /// Requests at a time, each on a connection of its own.
  std::size_t max_parallel = 16;
  /// The clock of this host; null: the real one.
  std::function<std::chrono::sys_seconds()> clock{};
};

/// kUsage if the location is malformed. Connects to nothing yet.
Result<std::unique_ptr<ObjectStore>> open_s3_store(S3Options options);

}  // namespace lamina::object_store
