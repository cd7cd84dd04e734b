// Percent-encoding (RFC 3986), and the dates of HTTP and S3.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace lamina::object_store {

/// `text` with every byte but A-Z a-z 0-9 - . _ ~ as %XX, the form that signatures are over.
std::string percent_encoded(std::string_view text);

/// The same, but slashes stay.
std::string percent_encoded_path(std::string_view path);

/// Decodes %XX; and "+" as a space if `plus_is_space`, as S3 encodes keys in lists. Nullopt if a
/// percent sign is not followed by two hexadecimal digits.
std::optional<std::string> percent_decoded(std::string_view text, bool plus_is_space);

/// "Wed, 21 Oct 2015 07:28:00 GMT", the only form that servers send; nullopt for anything else.
std::optional<std::chrono::sys_seconds> time_of_http(std::string_view text);

/// "2015-10-21T07:28:00.000Z", with or without the fraction; nullopt for anything else.
std::optional<std::chrono::sys_seconds> time_of_iso8601(std::string_view text);

}  // namespace lamina::object_store
