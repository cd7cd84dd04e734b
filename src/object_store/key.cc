#include "object_store/key.h"

#include <algorithm>
#include <limits>

#include "base/error.h"
#include "base/escape.h"
#include "base/utf8.h"

namespace lamina::object_store {
namespace {

bool is_control(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }

Status check_text(std::string_view what, std::string_view key) {
  if (key.size() > kMaxKeyBytes) {
    return fail(ErrorKind::kUsage, "{} '{}' has {} bytes; at most {} are allowed", what,
                escaped_value(key), key.size(), kMaxKeyBytes);
  }
  if (!is_utf8(key) || std::ranges::any_of(key, is_control)) {
    return fail(ErrorKind::kUsage, "{} '{}' has control characters or is not UTF-8", what,
                escaped_value(key));
  }
  return {};
}

Status check_segment(std::string_view what, std::string_view key, std::string_view segment) {
  if (segment.empty() || segment == "." || segment == "..") {
    return fail(ErrorKind::kUsage, "{} '{}' has the segment '{}'", what, escaped_value(key),
                segment);
  }
  if (segment.size() > kMaxSegmentBytes) {
    return fail(ErrorKind::kUsage, "{} '{}' has a segment of {} bytes; at most {} are allowed",
                what, escaped_value(key), segment.size(), kMaxSegmentBytes);
  }
  return {};
}

/// Checks every segment that a slash ends, and returns what follows the last slash.
Result<std::string_view> check_directories(std::string_view what, std::string_view key) {
  std::string_view rest = key;
  for (std::size_t slash = rest.find('/'); slash != std::string_view::npos;
       slash = rest.find('/')) {
    LAMINA_RETURN_IF_ERROR(check_segment(what, key, rest.substr(0, slash)));
    rest.remove_prefix(slash + 1);
  }
  return rest;
}

Status check_part(const Request& request) {
  if (request.part_number < 1 || request.part_number > kMaxParts) {
    return fail(ErrorKind::kUsage, "part number {} is not within 1 to {}", request.part_number,
                kMaxParts);
  }
  return {};
}

Status check_range(const Request& request) {
  if (!request.range) return {};
  const ByteRange& range = *request.range;
  if (range.length == 0 || range.length > std::numeric_limits<std::int64_t>::max() ||
      range.offset >
          static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()) - range.length) {
    return fail(ErrorKind::kUsage, "range of {} bytes at {} is empty or too large", range.length,
                range.offset);
  }
  if (!request.buffer.empty() && request.buffer.size() < range.length) {
    return fail(ErrorKind::kUsage, "a buffer of {} bytes is too small for a range of {}",
                request.buffer.size(), range.length);
  }
  return {};
}

}  // namespace

Status check_key(std::string_view key) {
  LAMINA_RETURN_IF_ERROR(check_text("key", key));
  LAMINA_ASSIGN_OR_RETURN(const std::string_view last, check_directories("key", key));
  return check_segment("key", key, last);
}

Status check_prefix(std::string_view prefix) {
  LAMINA_RETURN_IF_ERROR(check_text("prefix", prefix));
  LAMINA_ASSIGN_OR_RETURN([[maybe_unused]] const std::string_view last,
                          check_directories("prefix", prefix));
  return {};
}

Status check_request(const Request& request) {
  if (request.operation == Operation::kList || request.operation == Operation::kListUploads) {
    if (request.max_keys < 1 || request.max_keys > kMaxListKeys) {
      return fail(ErrorKind::kUsage, "a page of {} keys is not within 1 to {}", request.max_keys,
                  kMaxListKeys);
    }
    LAMINA_RETURN_IF_ERROR(check_text("key", request.after));
    return check_prefix(request.key);
  }
  LAMINA_RETURN_IF_ERROR(check_key(request.key));
  if (request.operation == Operation::kGet) return check_range(request);
  if (request.operation == Operation::kUploadPart) return check_part(request);
  if (request.operation == Operation::kCompleteUpload && request.parts.empty()) {
    return fail(ErrorKind::kUsage, "an upload without parts cannot be completed");
  }
  return {};
}

}  // namespace lamina::object_store
