#include "store/areas.h"

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/error.h"
#include "os/directory.h"
#include "os/file.h"
#include "os/owner.h"
#include "os/path_walk.h"

namespace lamina::store {
namespace {

constexpr std::array<std::string_view, 6> kAreas = {kTemporaryArea, kPendingArea, kVmsArea,
                                                    kMapsArea,      kCountsArea,  kLockArea};

}  // namespace

Result<os::Fd> make_area(int store, const std::string& store_path, const char* name, bool& made) {
  const std::string path = store_path + "/" + name;
  LAMINA_ASSIGN_OR_RETURN(const bool is_new, os::make_directory(store, name, path));
  made = made || is_new;
  LAMINA_ASSIGN_OR_RETURN(os::Fd area, os::open_directory(store, name, path));
  LAMINA_RETURN_IF_ERROR(os::check_owner(area.get(), path));
  return area;
}

// What is written to and cleaned up must be ours: a link may lead anywhere, and what belongs to
// another user may be exchanged by that user.
Status check_areas(int store, const std::string& store_path) {
  for (const std::string_view name : kAreas) {
    const std::string area(name);
    const std::string path = store_path + "/" + area;
    if (os::is_symbolic_link(store, area)) {
      return fail(ErrorKind::kFailed,
                  "'{}' is a symbolic link, and may not be one; put the directory itself there",
                  path);
    }
    if (!os::name_exists(store, area)) continue;
    LAMINA_ASSIGN_OR_RETURN(const os::Fd opened, os::open_directory(store, area, path));
    LAMINA_RETURN_IF_ERROR(os::check_owner(opened.get(), path));
  }
  return {};
}

bool is_area_name(std::string_view name) {
  return std::find(kAreas.begin(), kAreas.end(), name) != kAreas.end();
}

Result<os::Fd> open_in_store(const std::string& path) {
  // One of a store's own directories: from it on everything is lamina's.
  for (std::size_t end = path.size(); end > 0;) {
    const std::size_t slash = path.rfind('/', end - 1);
    const std::size_t start = slash == std::string::npos ? 0 : slash + 1;
    if (start < end && is_area_name(std::string_view(path).substr(start, end - start))) {
      const std::string store = start == 0 ? "." : path.substr(0, start);
      LAMINA_ASSIGN_OR_RETURN(const os::Fd directory, os::open_directory(AT_FDCWD, store, store));
      return os::open_directory(directory.get(), path.substr(start), path);
    }
    end = slash == std::string::npos ? 0 : slash;
  }
  std::string trimmed = path;
  while (trimmed.size() > 1 && trimmed.back() == '/') trimmed.pop_back();
  std::string name = trimmed.substr(trimmed.rfind('/') + 1);
  if (name.empty() || name == "." || name == "..") {
    return os::open_directory(AT_FDCWD, path, path);
  }
  const std::string store = os::parent_of(trimmed);
  LAMINA_ASSIGN_OR_RETURN(const os::Fd directory, os::open_directory(AT_FDCWD, store, store));
  if (const auto target = os::target_of_link(directory.get(), name)) {
    if (!os::name_exists(AT_FDCWD, path + "/.")) return system_failure("open", path, ENOENT);
    if (target->find('/') != std::string::npos || *target == "..") {
      return fail(ErrorKind::kFailed,
                  "'{}' is a symbolic link that leads out of its directory, and is not followed; "
                  "name the snapshot that it leads to",
                  path);
    }
    name = *target;
  }
  return os::open_directory(directory.get(), name, path);
}

Result<os::Fd> make_vms_area(const std::string& store) {
  LAMINA_ASSIGN_OR_RETURN(const os::Fd directory, os::open_directory(AT_FDCWD, store, store));
  LAMINA_RETURN_IF_ERROR(os::check_store_owner(directory.get(), store));
  bool made = false;
  return make_area(directory.get(), store, kVmsArea, made);
}

Status refuse_area(const std::string& path) {
  LAMINA_ASSIGN_OR_RETURN(const std::string real, os::real_path(path));
  for (std::size_t start = 1; start < real.size();) {
    const std::size_t end = std::min(real.find('/', start), real.size());
    const std::string above = real.substr(0, start);
    // Somebody's own directory may have such a name; below a store it is the store's.
    if (is_area_name(std::string_view(real).substr(start, end - start)) && is_store(above)) {
      return fail(ErrorKind::kUsage,
                  "'{}' is inside store '{}', in what lamina keeps there for itself; name a "
                  "snapshot of the store",
                  path, above.substr(0, std::max<std::size_t>(start - 1, 1)));
    }
    start = end + 1;
  }
  return {};
}

bool is_store(const std::string& path) {
  return os::name_exists(AT_FDCWD, path + "/" + kPendingArea);
}

}  // namespace lamina::store
