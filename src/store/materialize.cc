#include "lamina/materialize.h"

#include <fcntl.h>

#include "base/block.h"
#include "base/error.h"
#include "engine/materialize_data.h"
#include "lamina/uuid.h"
#include "store/snapshot_directory.h"
#include "sys/directory.h"

namespace lamina {
namespace {

engine::Sharing sharing_of(Reflink reflink) {
  switch (reflink) {
    case Reflink::kAuto:
      return engine::Sharing::kAuto;
    case Reflink::kAlways:
      return engine::Sharing::kAlways;
    case Reflink::kNever:
      return engine::Sharing::kNever;
  }
  return engine::Sharing::kAuto;
}

/// A path taken apart for work by descriptor.
struct Target {
  sys::Fd directory;
  std::string directory_path;
  std::string name;
};

Result<Target> open_target(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  Target target;
  target.name = slash == std::string::npos ? path : path.substr(slash + 1);
  target.directory_path =
      slash == std::string::npos ? "." : (slash == 0 ? "/" : path.substr(0, slash));
  if (target.name.empty() || target.name == "." || target.name == "..") {
    return fail(ErrorKind::kUsage, "'{}' cannot name a memory file", path);
  }
  auto directory = sys::open_directory(AT_FDCWD, target.directory_path, target.directory_path);
  if (!directory) {
    if (directory.error().kind != ErrorKind::kNotFound) return std::unexpected(directory.error());
    return fail(ErrorKind::kNotFound, "directory '{}' does not exist; make the directory first",
                target.directory_path);
  }
  target.directory = std::move(*directory);
  if (sys::name_exists(target.directory.get(), target.name)) {
    return fail(ErrorKind::kFailed, "'{}' already exists; remove it or choose another name", path);
  }
  return target;
}

}  // namespace

Result<MaterializeReport> materialize(const MaterializeOptions& options) {
  LAMINA_ASSIGN_OR_RETURN(const store::OpenSnapshot snapshot,
                          store::open_snapshot(options.snapshot));
  LAMINA_ASSIGN_OR_RETURN(const Target target, open_target(options.out));
  const int directory = target.directory.get();

  // Built without a name, so that nothing is left however this ends; named when it is on the disk.
  // A file system without unnamed files gets a temporary name, which is removed on failure.
  auto unnamed = sys::open_at(directory, ".", O_TMPFILE | O_RDWR, options.out);
  const std::string temporary = fmt::format(".{}.{}", target.name, Uuid::random().to_string());
  const bool has_name = !unnamed;
  if (has_name)
    unnamed = sys::open_at(directory, temporary, O_RDWR | O_CREAT | O_EXCL, options.out);
  if (!unnamed) return std::unexpected(unnamed.error());
  const int file = unnamed->get();

  MaterializeReport report;
  const Status written = [&]() -> Status {
    engine::MaterializeTarget destination;
    destination.destination = file;
    destination.path = options.out;
    destination.memory_bytes = snapshot.header.memory_bytes;
    destination.sharing = sharing_of(options.reflink);
    destination.progress = options.progress;
    LAMINA_ASSIGN_OR_RETURN(const engine::MaterializedData data,
                            engine::materialize_data(snapshot.chain, destination));
    LAMINA_RETURN_IF_ERROR(sys::sync(file, options.out));
    report = {snapshot.header.memory_bytes, data.cloned_bytes + data.copied_bytes,
              data.cloned_bytes};
    if (has_name) {
      return sys::rename_new(directory, temporary, directory, target.name, options.out);
    }
    LAMINA_ASSIGN_OR_RETURN(const bool linked,
                            sys::link_descriptor(file, directory, target.name, options.out));
    if (!linked) return fail(ErrorKind::kFailed, "'{}' could not be given its name", options.out);
    return {};
  }();
  if (!written) {
    if (has_name) static_cast<void>(sys::remove_file(directory, temporary, options.out));
    return std::unexpected(written.error());
  }
  LAMINA_RETURN_IF_ERROR(sys::sync(directory, target.directory_path));
  return report;
}

}  // namespace lamina
