#include "lifecycle/maps.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/error.h"
#include "lamina/materialize.h"
#include "os/directory.h"
#include "os/file.h"
#include "os/owner.h"
#include "store/areas.h"

namespace lamina::lifecycle {
namespace {

/// Snapshot names do not begin with a dot.
constexpr const char* kMapsLock = ".maps";

std::string map_path(const store::Store& store, const std::string& name) {
  return fmt::format("{}/{}/{}", store.path(), store::kMapsArea, name);
}

Result<os::Fd> open_maps(const store::Store& store) {
  const std::string path = map_path(store, ".");
  LAMINA_ASSIGN_OR_RETURN(const bool made, os::make_directory(store.fd(), store::kMapsArea, path));
  static_cast<void>(made);  // what is in it can be made again: not synced
  LAMINA_ASSIGN_OR_RETURN(os::Fd maps, os::open_directory(store.fd(), store::kMapsArea, path));
  LAMINA_RETURN_IF_ERROR(os::check_owner(maps.get(), path));
  return maps;
}

/// False if there is no such file, or the file system refuses another link to it.
Result<bool> link_existing(int maps, const std::string& name, const store::Pin& pin,
                           const std::string& path) {
  const auto opened = os::open_regular(maps, name, O_RDONLY, path);
  if (!opened) {
    if (opened.error().kind == ErrorKind::kNotFound) return false;
    return std::unexpected(opened.error());
  }
  return os::link_descriptor(opened->fd.get(), pin.directory(), kPinMapName,
                             pin.path() + "/" + kPinMapName);
}

}  // namespace

bool has_map(const store::Store& store, const Uuid& pause_id) {
  const auto maps = os::open_directory(store.fd(), store::kMapsArea, map_path(store, "."));
  return maps && os::name_exists(maps->get(), pause_id.to_string());
}

Result<std::string> provide_map(const store::Store& store, const store::Pin& pin,
                                const Uuid& pause_id, Progress* progress) {
  LAMINA_ASSIGN_OR_RETURN(const os::Fd maps, open_maps(store));
  const std::string name = pause_id.to_string();
  const std::string path = map_path(store, name);
  std::string pin_map = pin.path() + "/" + kPinMapName;
  LAMINA_RETURN_IF_ERROR(os::remove_file(pin.directory(), kPinMapName, pin_map));
  {
    LAMINA_ASSIGN_OR_RETURN(const store::NameLock lock, store.wait_for_lock(kMapsLock));
    LAMINA_ASSIGN_OR_RETURN(const bool linked, link_existing(maps.get(), name, pin, path));
    if (linked) return pin_map;
  }
  // In the pin, where no other process removes it, and without the lock, because it may take long.
  MaterializeOptions options;
  options.snapshot = pin.base_path();
  options.out = pin_map;
  options.progress = progress;
  LAMINA_RETURN_IF_ERROR(materialize(options));
  LAMINA_ASSIGN_OR_RETURN(const store::NameLock lock, store.wait_for_lock(kMapsLock));
  if (os::name_exists(maps.get(), name)) {
    // Another process was faster. Use its file, so that all VMs share one page cache.
    LAMINA_RETURN_IF_ERROR(os::remove_file(pin.directory(), kPinMapName, pin_map));
    LAMINA_ASSIGN_OR_RETURN(const bool linked, link_existing(maps.get(), name, pin, path));
    if (linked) return pin_map;
    return fail(ErrorKind::kFailed, "'{}' cannot be linked to '{}'", path, pin_map);
  }
  LAMINA_ASSIGN_OR_RETURN(const os::OpenedFile made,
                          os::open_regular(pin.directory(), kPinMapName, O_RDONLY, pin_map));
  // Without the second name only this VM uses it, which is correct as well.
  static_cast<void>(os::link_descriptor(made.fd.get(), maps.get(), name, path));
  return pin_map;
}

Result<std::uint64_t> remove_unused_maps(const store::Store& store, bool dry_run) {
  if (!os::name_exists(store.fd(), store::kMapsArea)) return 0;
  LAMINA_ASSIGN_OR_RETURN(const os::Fd maps, open_maps(store));
  const auto list = [&] { return os::list_directory(maps.get(), map_path(store, ".")); };
  LAMINA_ASSIGN_OR_RETURN(std::vector<std::string> names, list());
  // The lock may need a file, which a full disk does not give. Files that are made meanwhile are
  // used.
  if (names.empty()) return 0;
  LAMINA_ASSIGN_OR_RETURN(const store::NameLock lock, store.wait_for_lock(kMapsLock));
  // Another recovery may have removed some.
  LAMINA_ASSIGN_OR_RETURN(names, list());
  std::uint64_t removed = 0;
  for (const std::string& name : names) {
    if (!Uuid::parse(name)) continue;
    const std::string path = map_path(store, name);
    LAMINA_ASSIGN_OR_RETURN(const os::OpenedFile opened,
                            os::open_regular(maps.get(), name, O_RDONLY | O_NOFOLLOW, path));
    if (opened.facts.link_count > 1) continue;
    if (!dry_run) LAMINA_RETURN_IF_ERROR(os::remove_file(maps.get(), name, path));
    ++removed;
  }
  return removed;
}

}  // namespace lamina::lifecycle
