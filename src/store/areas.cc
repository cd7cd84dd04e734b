#include "store/areas.h"

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "base/error.h"
#include "os/directory.h"
#include "os/file.h"
#include "os/owner.h"
#include "os/path_walk.h"

namespace lamina::store {
namespace {

constexpr std::array<std::string_view, 8> kAreas = {kTemporaryArea, kPendingArea, kVmsArea,
                                                    kMapsArea,      kCountsArea,  kPushedArea,
                                                    kArrivingArea,  kLockArea};

}  // namespace

Result<os::Fd> make_area(int store, const std::string& store_path, const char* name, bool& made) {
  const std::string path = store_path + "/" + name;
  LAMINA_ASSIGN_OR_RETURN(const bool is_new, os::make_directory(store, name, path));
  made = made || is_new;
  LAMINA_ASSIGN_OR_RETURN(os::Fd area, os::open_directory(store, name, path));
  LAMINA_RETURN_IF_ERROR(os::check_owner(area.get(), path));
  return area;
}

// An area is written and cleaned up, so it must be this user's directory. A link may lead anywhere,
// and another user could replace the area at any time.
Status check_areas(int store, const std::string& store_path) {
  for (const std::string_view name : kAreas) {
    const std::string area(name);
    const std::string path = store_path + "/" + area;
    if (os::is_symbolic_link(store, area)) {
      return fail(ErrorKind::kFailed, "'{}' is a symbolic link; put the directory itself there",
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
  // An area: everything below it belongs to lamina.
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

Status check_not_a_snapshot(int directory, const std::string& path) {
  const bool has_area =
      os::name_exists(directory, kPendingArea) || os::name_exists(directory, kVmsArea);
  if (has_area || !os::name_exists(directory, kHeaderName)) return {};
  return with_remedy(fail(ErrorKind::kUsage, "'{}' is a snapshot, not a store", path),
                     "name the directory that holds it");
}

Result<os::Fd> make_vms_area(const std::string& store) {
  auto directory = os::open_directory(AT_FDCWD, store, store);
  if (!directory) {
    return os::explain_directory_failure("store", store, std::move(directory.error()));
  }
  LAMINA_RETURN_IF_ERROR(check_not_a_snapshot(directory->get(), store));
  LAMINA_RETURN_IF_ERROR(os::check_store_owner(directory->get(), store));
  bool made = false;
  return make_area(directory->get(), store, kVmsArea, made);
}

Status check_outside_areas(const std::string& path) {
  LAMINA_ASSIGN_OR_RETURN(const std::string real, os::real_path(path));
  for (std::size_t start = 1; start < real.size();) {
    const std::size_t end = std::min(real.find('/', start), real.size());
    const std::string above = real.substr(0, start);
    // A user's directory may have such a name; only below a store it is an area.
    if (is_area_name(std::string_view(real).substr(start, end - start)) && is_store(above)) {
      return fail(ErrorKind::kUsage,
                  "'{}' is in a directory of store '{}' that lamina keeps for itself; name a "
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
