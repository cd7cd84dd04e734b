// The URL of an object store, as users write it:
//
//   s3://BUCKET[/PREFIX][?OPTION=VALUE&…]
//   file:///DIRECTORY
//
// | option | meaning | otherwise |
// |---|---|---|
// | endpoint | https://HOST[:PORT] or http://HOST:PORT | AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, AWS
// | | region | | AWS_REGION, AWS_DEFAULT_REGION, the profile's, us-east-1 | | path_style | true:
// the bucket is in the path; false: in the host's name | true with an endpoint | | ca_file |
// certificates of the server's authorities, PEM | AWS_CA_BUNDLE, the system's | | profile | section
// of the shared files of credentials | AWS_PROFILE, default |
//
// Credentials are never part of a URL.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "lamina/result.h"
#include "object_store/credentials.h"
#include "object_store/object_store.h"
#include "object_store/s3_request.h"

namespace lamina::object_store {

struct RemoteUrl {
  std::string directory;  ///< absolute; "": S3
  S3Location s3;
  std::string profile;
};

/// kUsage if the URL is malformed.
Result<RemoteUrl> parse_remote_url(std::string_view url, const Environment& environment);

/// The name_of("") of the store that the URL names, without opening it.
std::string name_of_remote(const RemoteUrl& url);

/// Opens the store that the URL names. Connects to nothing yet. kPermission if credentials are
/// configured that cannot be used; kNotFound if a directory does not exist.
Result<std::unique_ptr<ObjectStore>> open_remote(const RemoteUrl& url,
                                                 const Environment& environment);

}  // namespace lamina::object_store
