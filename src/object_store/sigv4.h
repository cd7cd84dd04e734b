// AWS Signature Version 4 in the Authorization header, as S3 uses it: the path is signed as it is
// sent, not normalized or encoded twice.
// https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lamina::object_store {

/// Who signs. Never logged and never part of a message.
struct Credentials {
  std::string access_key;
  std::string secret_key;
  std::string session_token{};  ///< "": none; temporary credentials have one
  std::optional<std::chrono::sys_seconds> expires{};
};

/// The payload hash of a request whose body is not signed.
inline constexpr std::string_view kUnsignedPayload = "UNSIGNED-PAYLOAD";

using Fields = std::vector<std::pair<std::string, std::string>>;

/// The parts of a request that are signed.
struct SignedParts {
  std::string method;
  std::string path;  ///< percent-encoded, from the first slash on
  Fields query{};    ///< names and values, not encoded, in any order
  /// Names in lower case, in any order, with "host" and "x-amz-date".
  Fields headers{};
  /// SHA-256 of the body in hexadecimal digits, or kUnsignedPayload.
  std::string payload_hash;
};

/// The query in the form that is signed, which is also one to send: "a=1&b=".
std::string canonical_query(const Fields& query);

/// The signer's time: "20150830T123600Z".
std::string signing_time(std::chrono::sys_seconds time);

/// The value of the Authorization header. `time` is that of the x-amz-date header.
std::string authorization(const SignedParts& parts, const Credentials& credentials,
                          std::string_view region, std::string_view service,
                          std::chrono::sys_seconds time);

}  // namespace lamina::object_store
