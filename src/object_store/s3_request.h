// S3 requests as HTTP: URL, headers, signature.
#pragma once

#include <chrono>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "lamina/result.h"
#include "object_store/http_message.h"
#include "object_store/object_store.h"
#include "object_store/sigv4.h"

namespace lamina::object_store {

/// Where a bucket is, as a user gives it.
struct S3Location {
  std::string bucket;
  /// Before every key: "" or "a/b/".
  std::string prefix{};
  /// "http://host:port" or "https://host"; "": AWS.
  std::string endpoint{};
  std::string region = "us-east-1";
  /// True: the bucket in the path, as every server understands; false: in the host's name.
  bool path_style = false;
  std::string ca_file{};  ///< PEM; "": the system's
};

/// The same as requests are made from it.
struct S3Endpoint {
  std::string base_url;   ///< "https://bucket.host:port"
  std::string host;       ///< the Host header
  std::string base_path;  ///< "/bucket", or "" if the host names it
  std::string prefix;
  std::string region;
  bool is_encrypted = false;
  std::string name;  ///< for messages: "s3://bucket/prefix"
};

/// kUsage if a part of the location is malformed.
Result<S3Endpoint> endpoint_of(const S3Location& location);

/// The URL's part before the path: "https://host:port". kUsage if `url` is not of http or https,
/// has a user, a path, a query, or characters that have no place in a host's name.
struct UrlOrigin {
  std::string origin;
  std::string host;  ///< with the port if it is not the scheme's
  bool is_encrypted = false;
};
Result<UrlOrigin> origin_of(std::string_view url);

/// The HTTP request for `request`, signed as of `now`. `body` is what is sent: Request::body, or
/// the text of kCompleteUpload. `deadline` is what is left of the request's own. kUnsupported
/// without MD5.
struct SigningContext {
  const Credentials& credentials;
  std::chrono::sys_seconds now;
};
Result<HttpRequest> http_request_of(const S3Endpoint& endpoint, const Request& request,
                                    std::span<const std::byte> body, const SigningContext& context);

}  // namespace lamina::object_store
