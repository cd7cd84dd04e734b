#include "lamina/materialize.h"

#include <fcntl.h>

#include <optional>

#include "base/block.h"
#include "base/contain.h"
#include "base/error.h"
#include "engine/materialize_data.h"
#include "lamina/uuid.h"
#include "os/directory.h"
#include "os/path_walk.h"
#include "store/snapshot_directory.h"

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
  os::Fd directory;
  std::string directory_path;
  std::string name;
};

Result<Target> open_target(const std::string& path) {
  Target target;
  target.name = path.substr(path.rfind('/') + 1);  // npos + 1 is 0
  target.directory_path = os::parent_of(path);
  if (target.name.empty() || target.name == "." || target.name == "..") {
    return fail(ErrorKind::kUsage, "'{}' cannot name a memory file", path);
  }
  auto directory = os::open_directory(AT_FDCWD, target.directory_path, target.directory_path);
  if (!directory) {
    if (directory.error().kind != ErrorKind::kNotFound) return std::unexpected(directory.error());
    return fail(ErrorKind::kNotFound, "directory '{}' does not exist; make the directory first",
                target.directory_path);
  }
  target.directory = std::move(*directory);
  if (os::name_exists(target.directory.get(), target.name)) {
    return fail(ErrorKind::kFailed, "'{}' already exists; remove it or choose another name", path);
  }
  return target;
}

/// The file while it is written.
struct Unfinished {
  os::Fd fd;
  std::optional<std::string> temporary;  ///< its name, when it has to have one
};

/// Without a name where that is possible, so that nothing is left however this ends. A file system
/// without unnamed files gets a temporary name, which is removed on failure; so does every file
/// when there is no /proc, through which alone an unnamed one could be given its name.
Result<Unfinished> create_unfinished(const Target& target, const std::string& path) {
  auto unnamed = os::open_at(target.directory.get(), ".", O_TMPFILE | O_RDWR, path);
  if (unnamed && os::can_link_descriptor(unnamed->get())) {
    return Unfinished{std::move(*unnamed), std::nullopt};
  }
  const std::string temporary = fmt::format(".{}.{}", target.name, Uuid::random().to_string());
  LAMINA_ASSIGN_OR_RETURN(os::Fd named, os::open_at(target.directory.get(), temporary,
                                                    O_RDWR | O_CREAT | O_EXCL, path));
  return Unfinished{std::move(named), temporary};
}

Status give_name(const Unfinished& unfinished, const Target& target, const std::string& path) {
  const int directory = target.directory.get();
  if (unfinished.temporary) {
    return os::rename_new(directory, *unfinished.temporary, directory, target.name, path);
  }
  LAMINA_ASSIGN_OR_RETURN(const bool linked,
                          os::link_descriptor(unfinished.fd.get(), directory, target.name, path));
  if (linked) return {};
  return fail(ErrorKind::kFailed,
              "'{}' could not be given its name: its file system has no hard links; choose another "
              "place",
              path);
}

}  // namespace

Result<MaterializeReport> materialize(const MaterializeOptions& options) {
  return contain("materialize", [&]() -> Result<MaterializeReport> {
    LAMINA_ASSIGN_OR_RETURN(const store::OpenSnapshot snapshot,
                            store::open_snapshot(options.snapshot));
    LAMINA_ASSIGN_OR_RETURN(const Target target, open_target(options.out));
    const int directory = target.directory.get();

    LAMINA_ASSIGN_OR_RETURN(const Unfinished unfinished, create_unfinished(target, options.out));
    const int file = unfinished.fd.get();

    MaterializeReport report;
    const Status written = contain("materialize", [&]() -> Status {
      engine::MaterializeTarget destination;
      destination.destination = file;
      destination.path = options.out;
      destination.memory_bytes = snapshot.header.memory_bytes;
      destination.sharing = sharing_of(options.reflink);
      destination.progress = options.progress;
      LAMINA_ASSIGN_OR_RETURN(const engine::MaterializedData data,
                              engine::materialize_data(snapshot.chain, destination));
      LAMINA_RETURN_IF_ERROR(os::sync(file, options.out));
      report = {snapshot.header.memory_bytes, data.cloned_bytes + data.copied_bytes,
                data.cloned_bytes};
      return give_name(unfinished, target, options.out);
    });
    if (!written) {
      if (unfinished.temporary) {
        static_cast<void>(os::remove_file(directory, *unfinished.temporary, options.out));
      }
      return std::unexpected(written.error());
    }
    LAMINA_RETURN_IF_ERROR(os::sync(directory, target.directory_path));
    return report;
  });
}

}  // namespace lamina
