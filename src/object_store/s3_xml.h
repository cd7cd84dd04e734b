// The XML of S3: bodies of answers, and the one body that is sent.
//
// Answers are untrusted. Document types are refused, so there are no entities but the five of XML;
// depth and number of elements are limited before anything is parsed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lamina/result.h"
#include "object_store/object_store.h"
#include "object_store/sigv4.h"

namespace lamina::object_store {

/// Longest body that is parsed: 1,000 keys of 1,024 bytes, each of them encoded as three.
inline constexpr std::uint64_t kMaxXmlBytes = std::uint64_t{6} << 20;

/// "<Error><Code>NoSuchKey</Code>…": the code, and the server's text for a person.
struct S3Error {
  std::string code;
  std::string message;
};

/// Nullopt if `body` is not an error of S3 (a proxy's page, no body).
std::optional<S3Error> error_in(std::span<const std::byte> body);

struct S3List {
  std::vector<Entry> entries;
  bool is_truncated = false;
};

/// The answer to ListObjectsV2. kCorrupt if it is anything else, or a key or number is malformed.
Result<S3List> list_in(std::span<const std::byte> body);

struct S3Uploads {
  std::vector<PendingUpload> uploads;
  bool is_truncated = false;
  std::string next_key;
  std::string next_upload_id;
};

/// The answer to ListMultipartUploads, as list_in().
Result<S3Uploads> uploads_in(std::span<const std::byte> body);

/// The upload id in the answer to CreateMultipartUpload; kCorrupt if there is none.
Result<std::string> upload_id_in(std::span<const std::byte> body);

/// The ETag in the answer to CompleteMultipartUpload, which may be empty (Ceph); kCorrupt if there
/// is none.
Result<std::string> completed_tag_in(std::span<const std::byte> body);

/// The credentials in the answer to AssumeRoleWithWebIdentity; kCorrupt if there are none.
Result<Credentials> credentials_in(std::span<const std::byte> body);

/// The body of CompleteMultipartUpload.
std::string completion_of(const std::vector<UploadedPart>& parts);

}  // namespace lamina::object_store
