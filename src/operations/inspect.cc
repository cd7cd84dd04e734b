#include "lamina/inspect.h"

#include <fcntl.h>

#include "base/contain.h"
#include "base/error.h"
#include "format/header_codec.h"
#include "operations/describe.h"
#include "os/directory.h"
#include "store/snapshot_directory.h"

namespace lamina {
namespace {

Result<SnapshotInfo> inspect_header_file(const std::string& path) {
  LAMINA_ASSIGN_OR_RETURN(const os::OpenedFile opened,
                          os::open_regular(AT_FDCWD, path, O_RDONLY, path));
  LAMINA_ASSIGN_OR_RETURN(const std::vector<std::byte> bytes,
                          store::read_header_bytes(opened.fd.get(), path));
  const auto header = format::decode_header(bytes);
  if (!header)
    return std::unexpected(with_context(fmt::format("header '{}'", path), header.error()));
  return operations::describe_header(*header, path);
}

}  // namespace

Result<SnapshotInfo> inspect(const std::string& path) {
  return contain("inspect", [&]() -> Result<SnapshotInfo> {
    if (os::is_non_directory(path)) return inspect_header_file(path);
    LAMINA_ASSIGN_OR_RETURN(const store::OpenSnapshot snapshot,
                            store::open_snapshot(path, engine::Checksums::kSkip));
    return operations::describe_snapshot(snapshot, path);
  });
}

}  // namespace lamina
