#include "e2b/build_storage.h"

#include <fcntl.h>

#include <array>
#include <span>
#include <utility>

#include "base/bytes.h"
#include "base/error.h"
#include "os/directory.h"

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

Result<BuildStorage> BuildStorage::open(const std::string& path) {
  auto directory = os::open_directory(AT_FDCWD, path, path);
  if (!directory) {
    return os::explain_directory_failure("directory of builds", path, std::move(directory.error()));
  }
  return BuildStorage(path, std::move(*directory));
}

std::string BuildStorage::path_of(const Uuid& build, const std::string& name) const {
  return path_ + "/" + build.to_string() + "/" + name;
}

Result<std::optional<os::Fd>> BuildStorage::open_build(const Uuid& build) const {
  const std::string name = build.to_string();
  auto opened = os::open_directory(directory_.get(), name, path_ + "/" + name);
  if (opened) return std::optional(std::move(*opened));
  if (opened.error().kind == ErrorKind::kNotFound) return std::nullopt;
  return std::unexpected(std::move(opened.error()));
}

Result<std::optional<os::OpenedFile>> BuildStorage::open_object(const Uuid& build,
                                                                const std::string& name) const {
  LAMINA_ASSIGN_OR_RETURN(const std::optional<os::Fd> directory, open_build(build));
  if (!directory) return std::nullopt;
  auto opened =
      os::open_regular(directory->get(), name, O_RDONLY | O_NOFOLLOW, path_of(build, name));
  if (opened) return std::optional(std::move(*opened));
  if (opened.error().kind == ErrorKind::kNotFound) return std::nullopt;
  return std::unexpected(std::move(opened.error()));
}

bool BuildStorage::has_object(const Uuid& build, const std::string& name) const {
  const auto directory = open_build(build);
  return directory && *directory && os::name_exists((*directory)->get(), name);
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

std::optional<std::uint64_t> BuildStorage::generation_of(const Uuid& build) const {
  const auto opened = open_object(build, kHeaderName);
  if (!opened || !*opened) return std::nullopt;
  std::array<std::byte, kGenerationEnd> bytes{};
  const auto count = os::read_at((*opened)->fd.get(), bytes, 0, kHeaderName);
  if (!count || *count < bytes.size()) return std::nullopt;
  ByteReader reader(std::span<const std::byte>(bytes).last(sizeof(std::uint64_t)));
  return reader.get<std::uint64_t>();
}

Result<std::optional<std::vector<std::byte>>> BuildStorage::read_small(
    const Uuid& build, const std::string& name, std::uint64_t limit_bytes) const {
  LAMINA_ASSIGN_OR_RETURN(const auto opened, open_object(build, name));
  if (!opened) return std::nullopt;
  LAMINA_ASSIGN_OR_RETURN(std::vector<std::byte> bytes,
                          os::read_whole(opened->fd.get(), limit_bytes, path_of(build, name)));
  return std::optional(std::move(bytes));
}

}  // namespace lamina::e2b
