#include "object_store/s3_request.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <span>
#include <utility>

#include "base/error.h"
#include "base/escape.h"
#include "object_store/digest.h"
#include "object_store/encoding.h"
#include "object_store/key.h"
#include "object_store/s3_xml.h"

namespace lamina::object_store {
namespace {

bool is_alphanumeric(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/// AWS permits lower case only; older Ceph and others permit more.
bool is_bucket_name(std::string_view name) {
  return name.size() >= 3 && name.size() <= 255 && is_alphanumeric(name.front()) &&
         is_alphanumeric(name.back()) && std::ranges::all_of(name, [](char c) {
           return is_alphanumeric(c) || c == '-' || c == '.' || c == '_';
         });
}

bool is_region(std::string_view region) {
  return !region.empty() && std::ranges::all_of(region, [](char c) {
    return is_alphanumeric(c) || c == '-' || c == '_';
  });
}

std::string aws_endpoint(std::string_view region) {
  return fmt::format("https://s3.{}.amazonaws.com{}", region,
                     region.starts_with("cn-") ? ".cn" : "");
}

std::string_view method_of(Operation operation) {
  switch (operation) {
    case Operation::kPut:
    case Operation::kUploadPart:
      return "PUT";
    case Operation::kHead:
      return "HEAD";
    case Operation::kRemove:
    case Operation::kAbortUpload:
      return "DELETE";
    case Operation::kBeginUpload:
    case Operation::kCompleteUpload:
      return "POST";
    default:
      return "GET";
  }
}

Fields query_of(const S3Endpoint& endpoint, const Request& request) {
  switch (request.operation) {
    case Operation::kList: {
      Fields query = {{"list-type", "2"},
                      {"encoding-type", "url"},
                      {"max-keys", std::to_string(request.max_keys)},
                      {"prefix", endpoint.prefix + request.key}};
      if (!request.after.empty())
        query.emplace_back("start-after", endpoint.prefix + request.after);
      return query;
    }
    case Operation::kListUploads: {
      Fields query = {{"uploads", ""},
                      {"encoding-type", "url"},
                      {"max-uploads", std::to_string(request.max_keys)},
                      {"prefix", endpoint.prefix + request.key}};
      if (!request.after.empty()) {
        query.emplace_back("key-marker", endpoint.prefix + request.after);
        if (!request.upload_id.empty()) query.emplace_back("upload-id-marker", request.upload_id);
      }
      return query;
    }
    case Operation::kBeginUpload:
      return {{"uploads", ""}};
    case Operation::kUploadPart:
      return {{"partNumber", std::to_string(request.part_number)}, {"uploadId", request.upload_id}};
    case Operation::kCompleteUpload:
    case Operation::kAbortUpload:
      return {{"uploadId", request.upload_id}};
    default:
      return {};
  }
}

bool has_body(Operation operation) {
  return operation == Operation::kPut || operation == Operation::kUploadPart ||
         operation == Operation::kCompleteUpload || operation == Operation::kBeginUpload;
}

Result<Fields> headers_of(const Request& request, std::span<const std::byte> body) {
  Fields headers;
  if (has_body(request.operation) && request.operation != Operation::kBeginUpload) {
    Md5 digest{};
    if (request.md5) {
      digest = *request.md5;
    } else {
      LAMINA_ASSIGN_OR_RETURN(digest, md5_of(body));
    }
    headers.emplace_back("content-md5", base64_of(digest));
  }
  if (request.operation == Operation::kPut && request.condition == Condition::kIfAbsent) {
    headers.emplace_back("if-none-match", "*");
  }
  if (request.operation == Operation::kGet && request.range) {
    const ByteRange& range = *request.range;
    headers.emplace_back("range",
                         fmt::format("bytes={}-{}", range.offset, range.offset + range.length - 1));
  }
  return headers;
}

void set_answer_limits(const Request& request, HttpRequest& http) {
  http.max_bytes = kMaxXmlBytes;
  if (request.operation != Operation::kGet) return;
  http.buffer = request.range && !request.buffer.empty()
                    ? request.buffer.first(request.range->length)
                    : request.buffer;
  http.max_bytes = request.range ? request.range->length : request.max_bytes;
}

}  // namespace

Result<UrlOrigin> origin_of(std::string_view url) {
  UrlOrigin result;
  result.is_encrypted = url.starts_with("https://");
  if (!result.is_encrypted && !url.starts_with("http://")) {
    return with_remedy(fail(ErrorKind::kUsage, "endpoint '{}' is not a URL", escaped_value(url)),
                       "write https://HOST or http://HOST:PORT");
  }
  std::string_view host = url.substr(url.find("//") + 2);
  if (host.ends_with('/')) host.remove_suffix(1);
  const bool is_clean = std::ranges::all_of(host, [](char c) {
    return is_alphanumeric(c) || c == '-' || c == '.' || c == '_' || c == ':' || c == '[' ||
           c == ']';
  });
  // Not quoted: it may be a secret key.
  if (host.contains('@')) {
    return fail(ErrorKind::kUsage, "the URL of the endpoint has a user");
  }
  if (host.empty() || !is_clean) {
    return fail(ErrorKind::kUsage, "endpoint '{}' has something other than a host and a port",
                escaped_value(url));
  }
  result.origin = fmt::format("{}://{}", result.is_encrypted ? "https" : "http", host);
  const std::string_view usual_port = result.is_encrypted ? ":443" : ":80";
  if (host.ends_with(usual_port) && !host.ends_with("]")) host.remove_suffix(usual_port.size());
  result.host = host;
  return result;
}

Result<S3Endpoint> endpoint_of(const S3Location& location) {
  if (!is_bucket_name(location.bucket)) {
    return fail(ErrorKind::kUsage, "'{}' is not the name of a bucket",
                escaped_value(location.bucket));
  }
  if (!is_region(location.region)) {
    return fail(ErrorKind::kUsage, "'{}' is not a region", escaped_value(location.region));
  }
  LAMINA_RETURN_IF_ERROR(check_prefix(location.prefix));
  const bool is_aws = location.endpoint.empty();
  LAMINA_ASSIGN_OR_RETURN(UrlOrigin origin,
                          origin_of(is_aws ? aws_endpoint(location.region) : location.endpoint));
  S3Endpoint endpoint{.base_url = origin.origin,
                      .host = origin.host,
                      .base_path = {},
                      .prefix = location.prefix,
                      .region = location.region,
                      .is_encrypted = origin.is_encrypted,
                      .name = fmt::format("s3://{}/{}", location.bucket, location.prefix)};
  // A certificate of *.host does not cover a bucket with dots.
  if (location.path_style || location.bucket.contains('.')) {
    endpoint.base_path = "/" + location.bucket;
  } else {
    const std::size_t at = endpoint.base_url.find("//") + 2;
    endpoint.base_url.insert(at, location.bucket + ".");
    endpoint.host = location.bucket + "." + endpoint.host;
  }
  return endpoint;
}

Result<HttpRequest> http_request_of(const S3Endpoint& endpoint, const Request& request,
                                    std::span<const std::byte> body,
                                    const SigningContext& context) {
  LAMINA_ASSIGN_OR_RETURN(Fields headers, headers_of(request, body));
  const bool is_list =
      request.operation == Operation::kList || request.operation == Operation::kListUploads;
  const std::string path =
      endpoint.base_path + "/" +
      (is_list ? std::string() : percent_encoded_path(endpoint.prefix + request.key));
  SignedParts parts{.method = std::string(method_of(request.operation)),
                    .path = path,
                    .query = query_of(endpoint, request),
                    .headers = {},
                    // Over TLS the bytes are protected, and Content-MD5, which is signed, says
                    // which they are: a SHA-256 would cost as much again.
                    .payload_hash = endpoint.is_encrypted ? std::string(kUnsignedPayload)
                                                          : hex_of(sha256_of(body))};
  headers.emplace_back("host", endpoint.host);
  headers.emplace_back("x-amz-content-sha256", parts.payload_hash);
  headers.emplace_back("x-amz-date", signing_time(context.now));
  if (!context.credentials.session_token.empty()) {
    headers.emplace_back("x-amz-security-token", context.credentials.session_token);
  }
  // Without the range: a cache that fetches other ranges of an object passes the request on
  // (docs/remote.md). A range that was changed on the way is found: the answer names its own.
  std::ranges::copy_if(headers, std::back_inserter(parts.headers),
                       [](const auto& header) { return header.first != "range"; });
  headers.emplace_back("authorization", authorization(parts, context.credentials, endpoint.region,
                                                      "s3", context.now));
  const std::string query = canonical_query(parts.query);
  HttpRequest http;
  http.method = parts.method;
  http.url = endpoint.base_url + path + (query.empty() ? "" : "?" + query);
  http.headers = std::move(headers);
  http.body = body;
  http.limits = request.limits;
  http.is_sent_once = !request.may_be_sent_again || request.condition == Condition::kIfAbsent ||
                      request.operation == Operation::kCompleteUpload;
  http.stalls_before_answer = request.operation != Operation::kCompleteUpload;
  set_answer_limits(request, http);
  return http;
}

}  // namespace lamina::object_store
