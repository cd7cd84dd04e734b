#include "e2b/build_storage.h"

#include <algorithm>
#include <array>
#include <span>
#include <utility>

#include "base/bytes.h"
#include "base/error.h"
#include "e2b/build_bucket.h"
#include "e2b/build_directory.h"

namespace lamina::e2b {
namespace {

/// Version, block size, memory size, generation.
constexpr std::size_t kGenerationEnd = 32;

}  // namespace

std::string data_object_name(Compression compression) {
  switch (compression) {
    case Compression::kZstd:
      return std::string(kMemoryName) + ".zstd";
    case Compression::kLz4:
      return std::string(kMemoryName) + ".lz4";
    case Compression::kNone:
      break;
  }
  return kMemoryName;
}

Result<BuildStorage> BuildStorage::open(const std::string& place, Progress* progress) {
  LAMINA_ASSIGN_OR_RETURN(auto source, is_url(place) ? open_build_bucket(place, progress)
                                                     : open_build_directory(place));
  return BuildStorage(std::move(source));
}

Result<std::optional<Header>> BuildStorage::read_header(const Uuid& build) const {
  LAMINA_ASSIGN_OR_RETURN(const auto bytes, read_small(build, kHeaderName, kMaxHeaderFileBytes));
  if (!bytes) return std::nullopt;
  const std::string path = path_of(build, kHeaderName);
  auto header = decode_header(*bytes);
  if (!header) {
    return std::unexpected(
        with_context(fmt::format("header '{}'", path), std::move(header.error())));
  }
  if (header->build_id != build) {
    return fail(ErrorKind::kCorrupt, "header '{}': it is of build {}", path,
                header->build_id.to_string());
  }
  return std::optional(std::move(*header));
}

Result<std::optional<std::uint64_t>> BuildStorage::generation_of(const Uuid& build) const {
  LAMINA_ASSIGN_OR_RETURN(const auto object, open_object(build, kHeaderName));
  std::array<std::byte, kGenerationEnd> bytes{};
  if (!object || object->size_bytes() < bytes.size()) return std::nullopt;
  object->announce(0, bytes.size());
  LAMINA_RETURN_IF_ERROR(object->read(0, bytes));
  ByteReader reader(std::span<const std::byte>(bytes).last(sizeof(std::uint64_t)));
  return std::optional(reader.get<std::uint64_t>());
}

Result<std::optional<std::vector<std::byte>>> BuildStorage::read_small(
    const Uuid& build, const std::string& name, std::uint64_t limit_bytes) const {
  LAMINA_ASSIGN_OR_RETURN(const auto object, open_object(build, name));
  if (!object) return std::nullopt;
  const std::uint64_t size = object->size_bytes();
  if (size > limit_bytes) {
    return fail(ErrorKind::kCorrupt, "'{}' has {} bytes; at most {} are read", path_of(build, name),
                size, limit_bytes);
  }
  constexpr std::uint64_t kPartBytes = std::uint64_t{1} << 20;
  const auto part_at = [&](std::uint64_t offset) { return std::min(kPartBytes, size - offset); };
  for (std::uint64_t offset = 0; offset < size; offset += kPartBytes) {
    object->announce(offset, part_at(offset));
  }
  std::vector<std::byte> bytes(size);
  for (std::uint64_t offset = 0; offset < size; offset += kPartBytes) {
    LAMINA_RETURN_IF_ERROR(object->read(offset, std::span(bytes).subspan(offset, part_at(offset))));
  }
  return std::optional(std::move(bytes));
}

}  // namespace lamina::e2b
