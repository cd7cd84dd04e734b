#include "e2b/export_directory.h"

#include <fcntl.h>

#include <algorithm>
#include <cstddef>
#include <span>
#include <utility>

#include "base/contain.h"
#include "base/error.h"
#include "os/directory.h"
#include "os/file.h"

namespace lamina::e2b {
namespace {

constexpr const char* kExportPrefix = ".lamina-export-";
constexpr int kMakeAttempts = 10;
constexpr std::size_t kCompareBytes = std::size_t{256} << 10;

/// Removes the directory if no process has its lock.
Status remove_unlocked(int directory, const std::string& name, const std::string& path) {
  auto opened = os::open_directory(directory, name, path);
  if (!opened) return std::unexpected(std::move(opened.error()));
  const os::LockedFd left(std::move(*opened));
  LAMINA_ASSIGN_OR_RETURN(const bool locked, os::try_lock(left.get(), path));
  if (!locked) return {};
  return os::remove_tree(directory, name, path);
}

Result<bool> have_same_bytes(const os::OpenedFile& a, const os::OpenedFile& b,
                             const std::string& path) {
  if (a.facts.size_bytes != b.facts.size_bytes) return false;
  std::vector<std::byte> left(kCompareBytes);
  std::vector<std::byte> right(kCompareBytes);
  for (std::uint64_t offset = 0; offset < a.facts.size_bytes; offset += kCompareBytes) {
    const std::size_t now = std::min<std::uint64_t>(kCompareBytes, a.facts.size_bytes - offset);
    LAMINA_RETURN_IF_ERROR(
        os::read_exactly_at(a.fd.get(), std::span(left).first(now), offset, path));
    LAMINA_RETURN_IF_ERROR(
        os::read_exactly_at(b.fd.get(), std::span(right).first(now), offset, path));
    if (!std::equal(left.begin(), left.begin() + static_cast<std::ptrdiff_t>(now), right.begin())) {
      return false;
    }
  }
  return true;
}

}  // namespace

Result<ExportDirectory> ExportDirectory::create(const std::string& path,
                                                std::vector<std::string>& notes) {
  ExportDirectory made;
  made.path_ = path;
  auto directory = os::open_directory(AT_FDCWD, path, path);
  if (!directory) {
    return os::explain_directory_failure("directory of builds", path, std::move(directory.error()));
  }
  made.directory_ = std::move(*directory);
  LAMINA_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                          os::list_directory(made.directory_.get(), path));
  for (const std::string& name : names) {
    if (!name.starts_with(kExportPrefix)) continue;
    const Status removed = remove_unlocked(made.directory_.get(), name, path + "/" + name);
    if (!removed) {
      notes.push_back(
          fmt::format("'{}/{}', which an export that was killed has left, could not be "
                      "removed: {}",
                      path, name, one_line(removed.error())));
    }
  }
  for (int attempt = 0; attempt < kMakeAttempts; ++attempt) {
    LAMINA_ASSIGN_OR_RETURN(const bool is_made, made.make());
    if (is_made) return made;
  }
  return fail(ErrorKind::kBusy,
              "other exports removed the new directory in '{}' again and again; try again", path);
}

/// False: another export has taken the directory for one that was killed, before it was locked.
Result<bool> ExportDirectory::make() {
  const std::string name = kExportPrefix + Uuid::random().to_string();
  const std::string path = path_ + "/" + name;
  LAMINA_ASSIGN_OR_RETURN(const bool is_new, os::make_directory(directory_.get(), name, path));
  if (!is_new) return false;
  auto opened = os::open_directory(directory_.get(), name, path);
  if (!opened && opened.error().kind == ErrorKind::kNotFound) return false;
  if (!opened) return std::unexpected(std::move(opened.error()));
  own_ = os::LockedFd(std::move(*opened));
  LAMINA_ASSIGN_OR_RETURN(const bool is_locked, os::try_lock(own_.get(), path));
  if (!is_locked || !os::name_exists(directory_.get(), name)) return false;
  name_ = name;
  return true;
}

ExportDirectory::~ExportDirectory() {
  if (name_.empty() || !directory_.valid()) return;
  static_cast<void>(contain(
      "remove", [&] { return os::remove_tree(directory_.get(), name_, path_ + "/" + name_); }));
}

std::string ExportDirectory::path_of(const Uuid& build) const {
  return path_ + "/" + name_ + "/" + build.to_string();
}

Result<os::Fd> ExportDirectory::add_build(const Uuid& build) {
  const std::string name = build.to_string();
  const std::string path = path_of(build);
  LAMINA_ASSIGN_OR_RETURN(const bool is_new, os::make_directory(own_.get(), name, path));
  if (!is_new) return fail(ErrorKind::kExists, "'{}' already exists", path);
  return os::open_directory(own_.get(), name, path);
}

bool ExportDirectory::has_build(const Uuid& build) const {
  return os::name_exists(directory_.get(), build.to_string());
}

Result<bool> ExportDirectory::has_same_object(const Uuid& build, const std::string& name) const {
  if (!has_build(build)) return false;
  const std::string id = build.to_string();
  const std::string path = path_ + "/" + id;
  LAMINA_ASSIGN_OR_RETURN(const os::Fd there, os::open_directory(directory_.get(), id, path));
  LAMINA_ASSIGN_OR_RETURN(const os::Fd here, os::open_directory(own_.get(), id, path_of(build)));
  const auto old = os::open_regular(there.get(), name, O_RDONLY | O_NOFOLLOW, path + "/" + name);
  const auto fresh =
      os::open_regular(here.get(), name, O_RDONLY | O_NOFOLLOW, path_of(build) + "/" + name);
  if (!fresh) return std::unexpected(fresh.error());
  if (!old && old.error().kind != ErrorKind::kNotFound) return std::unexpected(old.error());
  bool is_same = false;
  if (old) {
    LAMINA_ASSIGN_OR_RETURN(is_same, have_same_bytes(*old, *fresh, path + "/" + name));
  }
  if (is_same) return true;
  return with_remedy(
      fail(ErrorKind::kExists, "'{}' exists, and has no '{}' with the bytes of that layer", path,
           name),
      "export to another directory, with the same codec as before, or set `compact`");
}

Status ExportDirectory::publish(const std::vector<Uuid>& builds) {
  LAMINA_RETURN_IF_ERROR(os::sync(own_.get(), path_ + "/" + name_));
  for (const Uuid& build : builds) {
    const std::string name = build.to_string();
    // The names of those that it refers to are on the disk before its own.
    if (build == builds.back()) LAMINA_RETURN_IF_ERROR(os::sync(directory_.get(), path_));
    LAMINA_RETURN_IF_ERROR(
        os::rename_new(own_.get(), name, directory_.get(), name, path_ + "/" + name));
  }
  return os::sync(directory_.get(), path_);
}

}  // namespace lamina::e2b
