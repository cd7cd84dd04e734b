// Keys of objects: relative paths, the same for all stores.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "lamina/result.h"
#include "object_store/object_store.h"

namespace lamina::object_store {

/// S3's limit.
inline constexpr std::size_t kMaxKeyBytes = 1024;
/// NAME_MAX: a segment is a file's name in a directory.
inline constexpr std::size_t kMaxSegmentBytes = 255;

/// kUsage unless `key` is UTF-8 without control characters, at most kMaxKeyBytes long, and made of
/// segments between single slashes, of which none is empty, "." or "..". Servers and proxies
/// resolve such segments in different ways, and in a directory they would lead out of it.
Status check_key(std::string_view key);

/// The same for the beginning of a key, which may end anywhere, "" included.
Status check_prefix(std::string_view prefix);

/// check_key() or check_prefix() of the request's key, and the ranges of its numbers.
Status check_request(const Request& request);

}  // namespace lamina::object_store
